"""Dropout by counters: which number is dropped depends on the run's seed, the step, the place and the position alone.

No generator is kept. So a resumed run drops the same numbers, two arms with the same seed do, and several processes
drop what one process would. A model drops nothing except within `dropping`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.pos import Stream

# Of SplitMix64. As torch has no unsigned 64-bit arithmetic, they are written as signed numbers, which wrap alike.
_GAMMA, _FACTORS = 0x9E3779B97F4A7C15 - 2**64, (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_SHIFTS = (30, 27, 31)
# A 64-bit word decides about four numbers.
_LANES, _LANE_BITS = 4, 16
_ROW_STRIDE = 2**32  # words between the first words of two rows


class NoDropout(nn.Module):
    """Nothing is dropped.

    Args:
        place: what tells this place in the model from the others, such as "blocks.0.attn".
        seed: the run's seed.
    """

    def __init__(self, place: str = "", seed: int = 0) -> None:
        super().__init__()
        self.place, self.seed = place, seed

    def begin(self, step: int, rows: Int[Tensor, " batch"]) -> None:
        """Drop numbers from now on, as in this step of training.

        Args:
            step: number of updates so far.
            rows: number of each row in the global batch.
        """

    def end(self) -> None:
        """Drop nothing from now on."""

    def forward(self, x: Stream) -> Stream:
        """Return `x`, in which some numbers may be dropped."""
        return x


class Dropout(NoDropout):
    """Each number becomes 0 with probability p, and is divided by 1 - p otherwise, arXiv 1207.0580.

    It stands where the first Transformer has it (arXiv 1706.03762, section 5.4): at the output of each branch, before
    it joins the stream, and after the embedding.

    Args:
        place: what tells this place in the model from the others.
        seed: the run's seed.
        p: share of the numbers that are dropped, rounded to a multiple of 2^-16.

    Raises:
        UserError: if `p` is no share.
    """

    def __init__(self, place: str = "", seed: int = 0, *, p: Any = 0.1) -> None:
        super().__init__(place, seed)
        if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p < 1:
            raise UserError(f"model.dropout.p={p!r} is not allowed: it must be a number from 0 to below 1.")
        self.dropped = min(round(p * 2**_LANE_BITS), 2**_LANE_BITS - 1)  # of 2^16
        self.words: Tensor | None = None

    def begin(self, step: int, rows: Int[Tensor, " batch"]) -> None:
        """Drop numbers from now on, as in this step of training."""
        digest = hashlib.sha256(f"{self.seed}/{step}/{self.place}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        self.words = rows.long() * _ROW_STRIDE * _GAMMA + key

    def end(self) -> None:
        """Drop nothing from now on."""
        self.words = None

    def forward(self, x: Stream) -> Stream:
        """Return `x`, in which some numbers are dropped within `dropping`."""
        if self.words is None:
            return x
        return x * self._kept(self.words, x) * (1 / (1 - self.dropped / 2**_LANE_BITS))

    def _kept(self, first: Int[Tensor, " batch"], x: Stream) -> Bool[Tensor, "*batch time d_model"]:
        """Return which numbers are kept: each has 16 bits of a word, and a word is a hash of key, row and position.

        Args:
            first: what the first word of each row is a hash of.
            x: the numbers.
        """
        size = x[0].numel()
        counters = torch.arange(-(-size // _LANES), device=x.device)
        words = splitmix64(first[:, None], counters)[..., None]
        lanes = words >> torch.arange(0, _LANES * _LANE_BITS, _LANE_BITS, device=x.device)
        return ((lanes & (2**_LANE_BITS - 1)) >= self.dropped).flatten(1)[:, :size].view(x.shape)


def splitmix64(seeds: Tensor, numbers: Tensor) -> Tensor:
    """Return outputs of the generator SplitMix64 (Steele, Lea and Flood 2014), any of them without those before.

    Args:
        seeds: seeds of the generator, int64.
        numbers: which output to return for each seed, counted from 1, int64; both are broadcast.
    """
    z = seeds + numbers * _GAMMA
    for shift, factor in zip(_SHIFTS[:2], _FACTORS, strict=True):
        z = (z ^ _shifted(z, shift)) * factor
    return z ^ _shifted(z, _SHIFTS[2])


def _shifted(z: Tensor, shift: int) -> Tensor:
    """Return z >> shift of unsigned numbers."""
    return (z >> shift) & (2 ** (64 - shift) - 1)


@contextmanager
def dropping(model: nn.Module, step: int, rows: Int[Tensor, " batch"]) -> Iterator[None]:
    """Let a model drop numbers in the block, as in a step of training.

    Args:
        model: the model.
        step: number of updates so far.
        rows: number of each of its rows in the global batch.
    """
    places = [part for part in model.modules() if isinstance(part, NoDropout)]
    for place in places:
        place.begin(step, rows)
    try:
        yield
    finally:
        for place in places:
            place.end()
