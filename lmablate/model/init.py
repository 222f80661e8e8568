"""Initialisation schemes. A scheme says the spread of each matrix; the draw itself is keyed by (seed, name).

Arms of an ablation then start from the same numbers wherever they have the same parameter, whatever else
differs between them. Vectors (norm weights and biases) keep their ones and zeros.
"""

import hashlib
import math

import torch
from torch import nn

INTO_STREAM = ("attn.o.weight", "mlp.down.weight")


class Init:
    """Base of the schemes.

    Args:
        salt: another word draws other numbers from the same distributions. An A/A experiment sweeps it.
    """

    def __init__(self, salt: str = "") -> None:
        self.salt = salt

    truncate = math.inf
    """How many standard deviations a draw may lie from zero."""

    promises_uniform_when_tied = True
    """Whether the first predictions of a model with tied embeddings are near uniform (loss near ln V)."""

    def std(self, name: str, weight: nn.Parameter, n_layers: int) -> float:
        """The standard deviation for the matrix `name` [d_out, d_in]."""
        raise NotImplementedError("a subclass of Init says how wide to draw")

    @torch.no_grad()
    def fill(self, model: nn.Module, n_layers: int, seed: int) -> None:
        """Draws every matrix of `model` in place."""
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                continue
            std, generator = self.std(name, parameter, n_layers), _keyed_generator(seed, self.salt + name)
            if math.isinf(self.truncate):
                parameter.normal_(0.0, std, generator=generator)
            else:
                bound = self.truncate * std
                nn.init.trunc_normal_(parameter, 0.0, std, -bound, bound, generator=generator)


class CS336(Init):
    """Stanford CS336, assignment 1, section 3.4: N(0, 2/(d_in + d_out)) cut at 3 sigma for linear layers,
    N(0, 1) cut at 3 for embeddings.

    An embedding this wide, used as output matrix too, gives logits with a spread of about sqrt(d_model).
    """

    truncate = 3.0
    promises_uniform_when_tied = False

    def std(self, name: str, weight: nn.Parameter, n_layers: int) -> float:
        if name in ("embed.weight", "pos.weight"):
            return 1.0
        return math.sqrt(2.0 / sum(weight.shape))


class GPT2(Init):
    """N(0, 0.02²), and 0.02 / sqrt(2 · n_layers) for the projections that write into the residual stream
    (Radford et al. 2019, section 2.3)."""

    def std(self, name: str, weight: nn.Parameter, n_layers: int) -> float:
        return 0.02 / math.sqrt(2 * n_layers) if name.endswith(INTO_STREAM) else 0.02


class Scaled(Init):
    """N(0, 1/d_in) for linear layers (unit variance in, unit variance out; LeCun et al. 1998, section 4.6) and
    N(0, 1/d_model) for embeddings, so that tied logits have a spread of about one.

    The branches are not scaled down: after them little of a token's own embedding is left in the stream, which
    otherwise, with tied weights and post-norm, makes every token predict itself.
    """

    def std(self, name: str, weight: nn.Parameter, n_layers: int) -> float:
        return 1 / math.sqrt(weight.shape[1])


def _keyed_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator that is a function of (seed, name) alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
