"""Rotary position embeddings: RoPE, and its variants that turn fewer dimensions, fewer layers, or more slowly."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lmablate.errors import UserError
from lmablate.model.checks import check_floats, check_sizes, positive_number
from lmablate.model.fast import FusedTurn, have_kernels
from lmablate.model.pos import NO_POSITIONS, Heads, KVHeads, Position, angles_at, end_position, frequencies_of
from lmablate.model.precision import to_at_least_float32


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
        self.theta = positive_number("model.pos.theta", theta)
        self.d_head = d_model // n_heads
        if d_model % (2 * n_heads):
            raise UserError(
                f"model.d_model={d_model} cannot be split among model.n_heads={n_heads}: model/pos=rope rotates pairs "
                "of dimensions, so d_model must be a multiple of 2 * n_heads."
            )
        self.register_buffer("turns", self._make_turns(context_length), persistent=False)

    def rotate(self, q: Heads, k: KVHeads, start: int = 0) -> tuple[Heads, KVHeads]:
        """Return queries and keys, each pair turned by the angle of its position."""
        end = end_position(q, start, self.d_head)
        if end > self.turns.shape[0]:
            self.turns = self._make_turns(2 * end).to(self.turns.device)
        turns = torch.view_as_complex(to_at_least_float32(self.turns[start:end]).unflatten(-1, (-1, 2)))
        return self.turn_heads(q, turns), self.turn_heads(k, turns)

    @property
    def turned(self) -> int:
        """Number of dimensions of a head that are turned: all."""
        return self.d_head

    def frequencies(self) -> Float[Tensor, " pairs"]:
        """Return the angle per position of each pair, in float64."""
        return frequencies_of(self.turned, self.theta)

    def turn_heads(self, x: Heads, turns: Tensor) -> Heads:
        """Return queries or keys, turned by the complex `turns` [time, pairs]."""
        return turn(x, turns)

    def _make_turns(self, length: int) -> Float[Tensor, "{length} turned"]:
        """Return cos and sin of every turn, side by side.

        They are real numbers because a module's cast to another dtype would drop the imaginary part of complex ones.
        """
        angle = angles_at(length, self.frequencies())
        return torch.stack((angle.cos(), angle.sin()), dim=-1).flatten(-2)


class PartialRoPE(RoPE):
    """RoPE on the first part of each head's dimensions; the others carry no position (GPT-NeoX, arXiv 2204.06745).

    Args:
        d_model: width of the residual stream.
        n_heads: attention heads per layer.
        context_length: tokens of a training sequence; longer input extends the table of turns.
        theta: the base of the wavelengths.
        fraction: part of the dimensions that are turned, rounded to whole pairs, at least one.

    Raises:
        UserError: if `fraction` is not in (0, 1], or for what `RoPE` refuses.
    """

    def __init__(
        self, d_model: int, n_heads: int, context_length: int, *, theta: Any = 10_000.0, fraction: Any = 0.25
    ) -> None:
        self.fraction = positive_number("model.pos.fraction", fraction)
        if self.fraction > 1:
            raise UserError(f"model.pos.fraction={fraction} is not allowed: it must be at most 1.")
        super().__init__(d_model, n_heads, context_length, theta=theta)

    @property
    def turned(self) -> int:
        """Number of dimensions of a head that are turned."""
        return max(2, 2 * round(self.fraction * self.d_head / 2))

    def turn_heads(self, x: Heads, turns: Tensor) -> Heads:
        """Return `x`, its first dimensions turned."""
        return torch.cat((turn(x[..., : self.turned], turns), x[..., self.turned :]), -1)


class NoPEEvery(RoPE):
    """RoPE, but none in every k-th layer: layers k, 2k, ..., counted from 1 (RNoPE, arXiv 2501.18795).

    Args:
        d_model: width of the residual stream.
        n_heads: attention heads per layer.
        context_length: tokens of a training sequence; longer input extends the table of turns.
        theta: the base of the wavelengths.
        every: the distance k of two layers without positions.

    Raises:
        UserError: if `every` is no size, or for what `RoPE` refuses.
    """

    def __init__(
        self, d_model: int, n_heads: int, context_length: int, *, theta: Any = 10_000.0, every: Any = 4
    ) -> None:
        check_sizes({"model.pos.every": every})
        super().__init__(d_model, n_heads, context_length, theta=theta)
        self.every = every

    def of_layer(self, layer: int) -> Position:
        """Return this scheme, or none in every k-th layer."""
        return NO_POSITIONS if (layer + 1) % self.every == 0 else self


class YaRN(RoPE):
    """RoPE for texts longer than those of the training, arXiv 2309.00071: slow turns are stretched, fast ones stay.

    A pair that makes fewer than `slow` turns within the original context is slowed down by `factor`, one that makes
    more than `fast` keeps its speed, and those between are mixed linearly (section 3.2). The scores are scaled by the
    factor that the paper found, (0.1 ln(factor) + 1)² (equation 22), half of it in each of queries and keys.

    Args:
        d_model: width of the residual stream.
        n_heads: attention heads per layer.
        context_length: tokens of a training sequence, T.
        theta: the base of the wavelengths.
        factor: how much longer than `original` the texts may be.
        original: the context that the speeds are judged by; None for `context_length` / `factor`, so that a model
            trained with YaRN at T has the turns of one trained at T / factor and then stretched.
        slow: number of turns below which a pair is stretched.
        fast: number of turns above which a pair stays as it is.

    Raises:
        UserError: if a number is not positive, `factor` is below 1, or `fast` is not above `slow`.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        context_length: int,
        *,
        theta: Any = 10_000.0,
        factor: Any = 4.0,
        original: Any = None,
        slow: Any = 1.0,
        fast: Any = 32.0,
    ) -> None:
        self.factor = positive_number("model.pos.factor", factor)
        if self.factor < 1:
            raise UserError(f"model.pos.factor={factor} is not allowed: it must be at least 1.")
        self.original = context_length / self.factor if original is None else original
        self.original = positive_number("model.pos.original", self.original)
        self.slow, self.fast = positive_number("model.pos.slow", slow), positive_number("model.pos.fast", fast)
        if self.slow >= self.fast:
            raise UserError(f"model.pos.fast={fast} is not allowed: it must be above model.pos.slow={slow}.")
        super().__init__(d_model, n_heads, context_length, theta=theta)

    def frequencies(self) -> Float[Tensor, " pairs"]:
        """Return the angle per position of each pair, the slow ones divided by the factor."""
        frequency = super().frequencies()
        turns = self.original * frequency / (2 * math.pi)
        kept = ((turns - self.slow) / (self.fast - self.slow)).clamp(0, 1)
        return frequency * (kept + (1 - kept) / self.factor)

    def turn_heads(self, x: Heads, turns: Tensor) -> Heads:
        """Return `x` turned, times 0.1 ln(factor) + 1."""
        return super().turn_heads(x, turns) * (0.1 * math.log(self.factor) + 1)


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


# ---- Reference: the definitions, for reading and for the tests ----


def turn_plain(x: Heads, turns: Tensor) -> Heads:
    """Return what `turn` returns, by the 2 x 2 rotation matrices of the paper."""
    cos, sin = turns.real, turns.imag
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
