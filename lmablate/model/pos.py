"""Position schemes: how the model learns the order of its tokens.

Each has three hooks, which change nothing in the base class `Position`:

    embed(x, start)      adds to the token embeddings           (learned, sinusoidal)
    rotate(q, k, start)  turns queries and keys in each head    (RoPE)
    bias(scores)         changes the attention scores           (ALiBi)

`start` is the position of the first token: 0, unless a cache already holds earlier tokens.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.checks import check_floats, check_sizes
from lmablate.model.fast import FusedTurn, have_kernels
from lmablate.model.linear import new_matrix
from lmablate.model.precision import to_at_least_float32

# In a model *heads is [batch, n_heads]. Any dimensions may stand there, or none.
Heads = Float[Tensor, "*heads time d_head"]
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

    def rotate(self, q: Heads, k: Heads, start: int = 0) -> tuple[Heads, Heads]:
        """Return queries and keys, turned by angles that depend on their positions."""
        return q, k

    def bias(self, scores: Scores) -> Scores:
        """Return the scores, changed by the distances; the queries have the *last* of the keys' positions."""
        return scores

    @property
    def biases(self) -> bool:
        """True if `bias` changes the scores; if not, fused attention needs no mask."""
        return type(self).bias is not Position.bias


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
        end = _end(x, start, self.d_model)
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
        self.theta = _positive("theta", theta)
        self.amplitude = d_model**-0.5 if amplitude is None else _positive("amplitude", amplitude)
        self.register_buffer("table", self._waves(context_length), persistent=False)

    def embed(self, x: Stream, start: int = 0) -> Stream:
        """Return `x` plus the waves at its positions."""
        end = _end(x, start, self.d_model)
        if end > self.table.shape[0]:
            self.table = self._waves(2 * end).to(self.table.device)
        return x + self.table[start:end].type_as(x)

    def _waves(self, length: int) -> Float[Tensor, "{length} d_model"]:
        angle = _angles(length, self.d_model, self.theta)
        waves = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[:, : self.d_model]
        return self.amplitude * waves


class RoPE(Position):
    """Rotary embedding, arXiv 2104.09864, equation 34: a score depends only on the distance of its positions.

    Each pair (2i, 2i+1) of a head is turned by an angle that grows with the position t. A pair is a complex number and
    the turn a multiplication: (q[2i] + j·q[2i+1]) · exp(j·t·theta^(-2i/d_head)).

    Args:
        d_model: width of the residual stream.
        n_heads: attention heads per layer.
        context_length: tokens of a training sequence; longer input extends the table of turns.
        theta: the base of the wavelengths.

    Raises:
        UserError: if `theta` is not a positive number, or if a head's width is not even.
    """

    def __init__(self, d_model: int, n_heads: int, context_length: int, *, theta: Any = 10_000.0) -> None:
        super().__init__(d_model, n_heads, context_length)
        self.theta = _positive("theta", theta)
        self.d_head = d_model // n_heads
        if d_model % (2 * n_heads):
            raise UserError(
                f"model.d_model={d_model} cannot be split among model.n_heads={n_heads}: model/pos=rope rotates pairs "
                "of dimensions, so d_model must be a multiple of 2 * n_heads."
            )
        self.register_buffer("turns", self._make_turns(context_length), persistent=False)

    def rotate(self, q: Heads, k: Heads, start: int = 0) -> tuple[Heads, Heads]:
        """Return queries and keys, each pair turned by the angle of its position."""
        end = _end(q, start, self.d_head)
        if end > self.turns.shape[0]:
            self.turns = self._make_turns(2 * end).to(self.turns.device)
        turns = torch.view_as_complex(to_at_least_float32(self.turns[start:end]).unflatten(-1, (-1, 2)))
        return turn(q, turns), turn(k, turns)

    def _make_turns(self, length: int) -> Float[Tensor, "{length} d_head"]:
        """Return cos and sin of every turn, side by side.

        They are real numbers because a module's cast to another dtype would drop the imaginary part of complex ones.
        """
        angle = _angles(length, self.d_head, self.theta)
        return torch.stack((angle.cos(), angle.sin()), dim=-1).flatten(-2)


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


def _angles(length: int, dims: int, theta: float) -> Float[Tensor, "{length} pairs"]:
    """Return position times frequency, theta^(-2i/dims) for pair i, computed in float64 and returned in float32."""
    # device="cpu": inside torch.device("meta"), arange would first import torch's compiler, which takes over a second.
    frequency = theta ** (-torch.arange(0, dims, 2, dtype=torch.float64, device="cpu") / dims)
    return torch.outer(torch.arange(length, dtype=torch.float64, device="cpu"), frequency).float()


def _end(x: Tensor, start: int, width: int) -> int:
    """Return the position after the last token of `x`, [..., time, width], whose first token has position `start`."""
    check_floats("x", x, "time", width)
    if start < 0:
        raise UserError(f"start={start} is not allowed: positions are counted from 0.")
    return start + x.shape[-2]


def turn(x: Heads, turns: Tensor) -> Heads:
    """Return `x`, its pairs multiplied by the complex `turns` [time, d_head/2]."""
    check_floats("x", x, turns.shape[-2], 2 * turns.shape[-1])
    if x.dim() == 4 and have_kernels(x, whole=x.shape[-1]):
        return FusedTurn.apply(x, turns)
    return torch.view_as_real(_as_complex(to_at_least_float32(x)) * turns).flatten(-2).type_as(x)


def _as_complex(x: Tensor) -> Tensor:
    """Return the pairs (2i, 2i+1) as complex numbers; they are copied if they do not lie so in memory."""
    pairs = x.unflatten(-1, (-1, 2))
    try:
        return torch.view_as_complex(pairs)
    except RuntimeError:
        return torch.view_as_complex(pairs.clone(memory_format=torch.contiguous_format))


def _positive(key: str, value: Any) -> float:
    """Return `value` as a float; it comes from a yaml or a command line, so it may be of any type."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"model.pos.{key}={value!r} is not allowed: it must be a positive number.")
    return float(value)


# ---- Reference: the definitions, for reading and for the tests ----


def turn_plain(x: Heads, turns: Tensor) -> Heads:
    """Return what `turn` returns, by the 2 x 2 rotation matrices of the paper."""
    cos, sin = turns.real, turns.imag
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
