"""Position schemes: how the model learns the order of its tokens.

Each has four hooks, which change nothing in the base class `Position`:

    embed(x, start)      adds to the token embeddings           (learned, sinusoidal)
    rotate(q, k, start)  turns queries and keys in each head    (RoPE)
    bias(scores)         changes the attention scores           (ALiBi)
    of_layer(layer)      gives layers different schemes         (NoPEEvery)

`start` is the position of the first token: 0, unless a cache already holds earlier tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.checks import check_floats, check_sizes, positive_number
from lmablate.model.linear import new_matrix

# In a model *heads is [batch, n_heads]. Any dimensions may stand there, or none.
Heads = Float[Tensor, "*heads time d_head"]
KVHeads = Float[Tensor, "*kv_heads time d_head"]  # of keys and values, which may have fewer heads than queries
Scores = Float[Tensor, "*heads queries keys"]
Stream = Float[Tensor, "*batch time d_model"]


class Position(nn.Module):
    """Base of the schemes: no position information unless a subclass overrides a hook.

    A subclass that overrides `bias` may set `bias_is_constant`, if it adds numbers that depend neither on parameters
    nor on the scores. The faster forms of attention are for such a bias only.

    Args:
        d_model: width of the residual stream.
        n_heads: attention heads per layer.
        context_length: tokens of a training sequence.
    """

    bias_is_constant = False

    def __init__(self, d_model: int, n_heads: int, context_length: int) -> None:
        super().__init__()
        check_sizes({"model.d_model": d_model, "model.n_heads": n_heads, "model.context_length": context_length})
        self.d_model, self.n_heads, self.context_length = d_model, n_heads, context_length

    def embed(self, x: Stream, start: int = 0) -> Stream:
        """Return the token embeddings `x`, with something added for their positions."""
        return x

    def rotate(self, q: Heads, k: KVHeads, start: int = 0) -> tuple[Heads, KVHeads]:
        """Return queries and keys, turned by angles that depend on their positions."""
        return q, k

    def bias(self, scores: Scores) -> Scores:
        """Return the scores, changed by the distances; the queries have the *last* of the keys' positions."""
        return scores

    @property
    def biases(self) -> bool:
        """True if `bias` changes the scores; if not, fused attention needs no mask."""
        return type(self).bias is not Position.bias

    def of_layer(self, layer: int) -> "Position":
        """Return the scheme that a layer's attention uses; layers are counted from 0."""
        return self


@dataclass(frozen=True)
class ChangedScores:
    """A change of the scores that stands in the place of a position scheme.

    Attributes:
        bias: returns the changed scores.
        bias_is_constant: True if it adds numbers that depend neither on parameters nor on the scores.
    """

    bias: Callable[[Scores], Scores]
    bias_is_constant: bool
    biases: bool = True


# What attention asks what happens to its scores.
ScoreChange = Position | ChangedScores


class NoPE(Position):
    """No positional encoding: the causal mask alone tells order, arXiv 2305.19466."""


# For attention without a model; the sizes do not matter.
NO_POSITIONS = NoPE(d_model=1, n_heads=1, context_length=1)


class Learned(Position):
    """A trained vector for each position, added to the token's embedding (GPT-2)."""

    def __init__(self, d_model: int, n_heads: int, context_length: int) -> None:
        super().__init__(d_model, n_heads, context_length)
        self.weight = new_matrix(context_length, d_model)

    def embed(self, x: Stream, start: int = 0) -> Stream:
        """Return `x` plus the vectors of its positions.

        Raises:
            UserError: if a token lies past the trained context, where there are no vectors.
        """
        end = end_position(x, start, self.d_model)
        if end > self.context_length:
            raise UserError(
                f"model/pos=learned has vectors for {self.context_length} positions and was asked for {end}: "
                "learned positions do not extend past model.context_length."
            )
        return x + self.weight[start:end]


class Sinusoidal(Position):
    """Fixed sines and cosines of geometric wavelengths, added to the embedding, arXiv 1706.03762, section 3.5.

    p[t, 2i] = a · sin(t / theta^(2i/d)),  p[t, 2i+1] = a · cos(t / theta^(2i/d)),  a = 1/sqrt(d)

    The amplitude a is the paper's: the paper multiplies the embeddings by sqrt(d) before it adds waves of amplitude 1
    (section 3.4). Waves of amplitude 1 would be much larger than unscaled embeddings, which have to be small if they
    are tied.

    Args:
        d_model: width d of the residual stream.
        n_heads: attention heads per layer; not used.
        context_length: tokens of a training sequence; longer input extends the table.
        theta: the base of the wavelengths.
        amplitude: the amplitude a; None for 1/sqrt(d).

    Raises:
        UserError: if `theta` or `amplitude` is not a positive number.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        context_length: int,
        *,
        theta: Any = 10_000.0,
        amplitude: Any = None,
    ) -> None:
        super().__init__(d_model, n_heads, context_length)
        self.theta = positive_number("model.pos.theta", theta)
        self.amplitude = d_model**-0.5 if amplitude is None else positive_number("model.pos.amplitude", amplitude)
        self.register_buffer("table", self._waves(context_length), persistent=False)

    def embed(self, x: Stream, start: int = 0) -> Stream:
        """Return `x` plus the waves at its positions."""
        end = end_position(x, start, self.d_model)
        if end > self.table.shape[0]:
            self.table = self._waves(2 * end).to(self.table.device)
        return x + self.table[start:end].type_as(x)

    def _waves(self, length: int) -> Float[Tensor, "{length} d_model"]:
        angle = angles_at(length, frequencies_of(self.d_model, self.theta))
        waves = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[:, : self.d_model]
        return self.amplitude * waves


class ALiBi(Position):
    """Attention with linear biases, arXiv 2108.12409: each head lowers a score by slope · distance.

    Slopes are 2^(-8h/n_heads) for h = 1..n_heads; if n_heads is a power of two, these are the paper's numbers.
    """

    bias_is_constant = True
    slopes: Tensor

    def __init__(self, d_model: int, n_heads: int, context_length: int) -> None:
        super().__init__(d_model, n_heads, context_length)
        slopes = 2.0 ** (-8.0 * torch.arange(1, n_heads + 1, device="cpu") / n_heads)
        self.register_buffer("slopes", slopes, persistent=False)

    def bias(self, scores: Scores) -> Scores:
        """Return the scores minus slope · distance between query and key.

        Raises:
            UserError: if the scores are not [..., n_heads, queries, keys], or if there are more queries than keys.
        """
        check_floats("scores", scores, self.n_heads, "queries", "keys")
        queries, keys = scores.shape[-2:]
        if queries > keys:
            raise UserError(f"{queries} queries cannot have the last positions of {keys} keys.")
        position = torch.arange(keys, device=scores.device)
        distance = position[keys - queries :, None] - position
        return scores - (self.slopes[:, None, None] * distance).type_as(scores)


def frequencies_of(dims: int, theta: float) -> Float[Tensor, " pairs"]:
    """Return theta^(-2i/dims) for pair i, in float64."""
    # device="cpu": inside torch.device("meta"), arange would first import torch's compiler, which takes over a second.
    return theta ** (-torch.arange(0, dims, 2, dtype=torch.float64, device="cpu") / dims)


def angles_at(length: int, frequency: Float[Tensor, " pairs"]) -> Float[Tensor, "{length} pairs"]:
    """Return position times frequency, computed in float64 and returned in float32."""
    return torch.outer(torch.arange(length, dtype=torch.float64, device="cpu"), frequency).float()


def end_position(x: Tensor, start: int, width: int) -> int:
    """Return the position after the last token of `x`, [..., time, width], whose first token has position `start`."""
    check_floats("x", x, "time", width)
    if start < 0:
        raise UserError(f"start={start} is not allowed: positions are counted from 0.")
    return start + x.shape[-2]
