"""Initialisation schemes: the standard deviation of each matrix's first values.

Each matrix is drawn by a generator of its own, seeded by (seed, salt, parameter name). So two arms of an ablation start
from the same numbers in every parameter that both have, whatever else differs between them. Vectors (norm weights and
biases) keep their ones and zeros.
"""

import hashlib
import math
from functools import partial

import torch
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.checks import check_sizes
from lmablate.model.linear import block_matrices
from lmablate.model.scaling import Standard

_STANDARD = Standard(1, 1)
# Matrices that write into the residual stream.
INTO_STREAM = ("attn.o.weight", "mlp.down.weight")


class Init:
    """Base of the schemes: a subclass defines `std`.

    Args:
        salt: part of what seeds the draws; another salt draws other numbers from the same distributions. An A/A
            experiment sweeps it.

    Raises:
        UserError: if the salt is not text.
    """

    # How many standard deviations a draw may lie from zero.
    truncate = math.inf

    def __init__(self, salt: str = "") -> None:
        if not isinstance(salt, str):
            raise UserError(f"model.init.salt={salt!r} is not allowed: it must be text, so put it in quotes.")
        self.salt = salt

    def std(self, name: str, weight: Tensor, n_layers: int) -> float:
        """Return the standard deviation of a matrix.

        Args:
            name: the parameter's name in the model, such as "blocks.0.attn.o.weight".
            weight: the matrix, [d_out, d_in], or [vocab_size, d_model] for an embedding.
            n_layers: number of blocks of the model.
        """
        raise NotImplementedError("a subclass of Init must define std")

    def _std_of(self, name: str, n_layers: int, weight: Tensor) -> float:
        return self.std(name, weight, n_layers)

    @torch.no_grad()
    def fill(self, model: nn.Module, n_layers: int, seed: int, scaling: Standard = _STANDARD) -> None:
        """Draw every matrix of `model` in place.

        Args:
            model: the model; its vectors are left as they are.
            n_layers: number of its blocks.
            scaling: how the standard deviations depend on the width.
            seed: together with the salt and a parameter's name, it determines the numbers that are drawn.
        """
        check_sizes({"n_layers": n_layers})
        in_blocks = {id(weight) for weight in block_matrices(model)}
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                continue
            std = scaling.std(partial(self._std_of, name, n_layers), parameter, id(parameter) in in_blocks)
            if parameter.is_meta:  # it has no numbers, and to draw them torch would import its compiler: a second
                continue
            generator = keyed_generator(seed, self.salt + name)
            if math.isinf(self.truncate):
                parameter.normal_(0.0, std, generator=generator)
            else:
                bound = self.truncate * std
                nn.init.trunc_normal_(parameter, 0.0, std, -bound, bound, generator=generator)


class CS336(Init):
    """The scheme of Stanford CS336, assignment 1, section 3.4.

    N(0, 2/(d_in + d_out)) for linear layers and N(0, 1) for embeddings, both cut at three standard deviations.
    An embedding this wide, used as output matrix too, gives logits with a standard deviation of about sqrt(d_model).
    """

    truncate = 3.0

    def std(self, name: str, weight: Tensor, n_layers: int) -> float:
        """Return 1 for embeddings, sqrt(2/(d_in + d_out)) for other matrices."""
        if name in ("embed.weight", "pos.weight"):
            return 1.0
        return math.sqrt(2.0 / sum(weight.shape))


class GPT2(Init):
    """The scheme of GPT-2 (Radford et al. 2019, section 2.3).

    N(0, 0.02²); the standard deviation is 0.02 / sqrt(2 · n_layers) for the projections that write into the residual
    stream.
    """

    def std(self, name: str, weight: Tensor, n_layers: int) -> float:
        """Return 0.02, less for projections into the residual stream."""
        return 0.02 / math.sqrt(2 * n_layers) if name.endswith(INTO_STREAM) else 0.02


class Scaled(Init):
    """Unit variance in, unit variance out (LeCun et al. 1998, section 4.6).

    N(0, 1/d_in) for linear layers and N(0, 1/d_model) for embeddings, so that tied logits have a standard deviation of
    about one. The branches are not scaled down, so that they leave little of a token's own embedding in the stream.
    Otherwise, with tied weights and post-norm, every token would predict itself.
    """

    def std(self, name: str, weight: Tensor, n_layers: int) -> float:
        """Return 1/sqrt(d_in), which is 1/sqrt(d_model) for embeddings."""
        return 1 / math.sqrt(weight.shape[1])


class ZeroBranches(Scaled):
    """As `Scaled`, but no branch writes anything at first: the projections into the stream are zero.

    So every block is the identity at first, as with `ReZero`, but without a parameter (Fixup, arXiv 1901.09321, section
    3, sets the last layer of each branch to zero).
    """

    def std(self, name: str, weight: Tensor, n_layers: int) -> float:
        """Return 0 for projections into the stream, 1/sqrt(d_in) for other matrices."""
        return 0.0 if name.endswith(INTO_STREAM) else super().std(name, weight, n_layers)


def keyed_generator(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator whose state depends on (seed, name) alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
