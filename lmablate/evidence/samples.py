"""Samples: the effect of each seed, and what they say about the mean effect, each kind by a test that it allows.

The arms of an ablation share their random numbers: initialisation and batches are functions of the seed. So two runs
of the same seed are a pair, and arms are compared by the mean of the pairs' differences.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from math import fsum, sqrt
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lmablate.errors import UserError
from lmablate.evidence.worst_ranks import signed_rank_p

UNLIMITED = (-np.inf, np.inf)
# Up to this many values, signs are flipped in all 2^n ways; beyond, the central limit theorem has taken over.
_MOST_FLIPPED = 40
# No verdict rests on a larger p-value, so none above it is checked by flipping signs.
_CHECKED = 0.1
# Samples of up to 16 exponential values that the distribution of the t statistic is taken from; of more, fewer.
_DRAWN = 2**18
# Stands for an infinite value where sums are taken, so that opposite infinities cancel.
_HUGE = 1e300


@dataclass(frozen=True)
class Sample:
    """Independent values, one per seed, usually paired differences; their mean is judged by Student's t test.

    A single value has no spread, so with n = 1 every p-value is 1 and every interval is infinite.

    Values that are all the same tell nothing of how far a value may lie from them, so the t test cannot judge them.
    They tell how rare other values are: no event in n seeds bounds the event's rate (the exact binomial bound of
    Clopper and Pearson). With limits of a value, that bounds the mean; without, nothing does.

    Attributes:
        values: the values.
        limits: the smallest and the largest value that is possible; infinite if unknown.
        exact: whether each p-value is at least that of the exact sign-flip test. A value's deviation from the true mean
            must then be as likely as its negative, and need not be normal.
    """

    values: tuple[float, ...]
    limits: tuple[float, float] = UNLIMITED
    exact: bool = False

    # Whether the p-values rest on Student's distribution.
    rests_on_tails: ClassVar[bool] = True

    @classmethod
    def of(cls, values: ArrayLike, limits: tuple[float, float] = UNLIMITED) -> Self:
        """Return the sample of a list of values.

        Raises:
            UserError: if the values are not a non-empty list of finite numbers.
        """
        values = np.asarray(values, dtype=float)
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise UserError(f"A sample must be a non-empty list of finite numbers, not {values.tolist()}.")
        return cls(tuple(values.tolist()), limits)

    @classmethod
    def paired(cls, a: ArrayLike, b: ArrayLike) -> Self:
        """Return the sample of the differences a − b of values that belong together pair by pair.

        Args:
            a: one value per pair.
            b: the other value of each pair, in the same order.

        Raises:
            UserError: if `a` and `b` are not equally long, or a difference is not finite.
        """
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        if a.shape != b.shape:
            raise UserError(f"Paired values must be equally many, not {a.size} and {b.size}.")
        return cls.of(a - b)

    @property
    def n(self) -> int:
        """Number of values."""
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        """The effect that is reported: the mean of the values."""
        return fsum(self.values) / self.n

    @cached_property
    def sd(self) -> float:
        """Standard deviation of the values, with n − 1 in the denominator; NaN for n = 1."""
        if self.n < 2:
            return float("nan")
        sd = sqrt(fsum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))
        # A spread of a few rounding errors counts as none, since a t test would take it for near-perfect certainty.
        return 0.0 if sd <= 1e-12 * abs(self.mean) else sd

    @property
    def is_constant(self) -> bool:
        """Whether there are several values, and all are the same."""
        return self.n > 1 and self.sd == 0

    @classmethod
    def tails(cls, values: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
        """Return the one-sided p-values of "the true mean is at most `bound`" for many samples that have a spread.

        Args:
            values: [samples, n], n at least 2.
            bound: the bound.
        """
        n = values.shape[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (values.mean(axis=1) - bound) / (values.std(axis=1, ddof=1) / np.sqrt(n))
        return cls._of_student(special.stdtr(n - 1, -t), n)

    @classmethod
    def _of_student(cls, p_values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Return the p-values of t statistics of n values, given those of Student's test."""
        return p_values

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of the null hypothesis that the true mean is at most `bound`.

        A small p-value is evidence that the true mean is above `bound`.
        """
        return self._p_value(1, bound)

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value of the null hypothesis that the true mean is at least `bound`.

        A small p-value is evidence that the true mean is below `bound`.
        """
        return self._p_value(-1, -bound)

    def _p_value(self, sign: int, bound: float) -> float:
        """Return `p_above` of the values, or, for a sign of −1, of their negatives."""
        if self.n < 2:
            return 1.0
        distance = sign * self.mean - bound
        if self.is_constant:
            return self._p_of_no_event(distance, self.mean - self.limits[0] if sign > 0 else self.limits[1] - self.mean)
        student = special.stdtr(self.n - 1, -distance / (self.sd / sqrt(self.n)))
        p = float(self._of_student(student, self.n))
        if self.exact and p <= _CHECKED and self.n <= _MOST_FLIPPED:
            return max(p, flip_tail(sign * np.array(self.values) - bound))
        return p

    def _p_of_no_event(self, distance: float, reach: float) -> float:
        """Return the p-value if all values are the same.

        For a mean at the bound, which is `distance` away, a value at the limit, `reach` away, must have some rate.
        """
        if distance <= 0:
            return 1.0
        return (1 - distance / reach) ** self.n if distance < reach else 0.0

    def p_within(self, margin: float) -> float:
        """Return the p-value of the null hypothesis that the true mean lies outside (−margin, margin).

        A small p-value is evidence of equivalence: the true mean is nearer to 0 than the margin. It is the larger
        p-value of two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657).
        """
        return max(self.p_above(-margin), self.p_below(margin))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval that covers the true mean with probability `level`; it is never without width."""
        if self.n < 2:
            return UNLIMITED
        tail = (1 - level) / 2
        if self.is_constant:
            rate = 1 - tail ** (1 / self.n)
            low, high = self.limits
            return self.mean - (self.mean - low) * rate, self.mean + (high - self.mean) * rate
        half = -float(special.stdtrit(self.n - 1, self._student_tail(tail))) * self.sd / sqrt(self.n)
        return self.mean - half, self.mean + half

    def _student_tail(self, tail: float) -> float:
        """Return the p-value of Student's test at which the test of this sample has the p-value `tail`."""
        return tail


@dataclass(frozen=True)
class SkewedSample(Sample):
    """Values that no other arm is subtracted from, so that a skew of the reading does not cancel.

    Under skew the t test errs far more often than it says: with ten exponential values twenty times as often, at a
    level of .00125. So the t statistic is compared with its distribution for exponential values with their long tail on
    the side that makes it err, which has a skew of 2. Simulations in the tests show that no smaller skew errs more.
    """

    @classmethod
    def _of_student(cls, p_values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        draws = _exponential_tails(n)
        simulated = (np.searchsorted(draws, p_values, side="right") + 1) / (draws.size + 1)
        return np.clip(simulated, p_values, np.minimum(1.0, _tail_ratio(n) * p_values))

    def _student_tail(self, tail: float) -> float:
        draws = _exponential_tails(self.n)
        rank = int(tail * (draws.size + 1)) - 1
        return min(tail, max(float(draws[rank - 1]) if rank > 0 else 0.0, tail / _tail_ratio(self.n)))


@dataclass(frozen=True)
class RankedSample(Sample):
    """Differences of pairs of which runs diverged: an infinite value is a difference beyond all others.

    A divergence has no size, so there is no mean effect. The values are judged by exact signed ranks, diverged runs
    as the worst ones (see `worst_ranks`), and reported is the Hodges-Lehmann estimate, the median of the means of all
    pairs of values.
    """

    rests_on_tails: ClassVar[bool] = False

    @classmethod
    def of(cls, values: ArrayLike, limits: tuple[float, float] = UNLIMITED) -> Self:
        """Return the sample of a list of values, which may be infinite.

        Raises:
            UserError: if the values are not a non-empty list of numbers.
        """
        values = np.asarray(values, dtype=float)
        if values.ndim != 1 or not values.size or np.isnan(values).any():
            raise UserError(f"A sample must be a non-empty list of numbers, not {values.tolist()}.")
        return cls(tuple(values.tolist()), limits)

    @cached_property
    def mean(self) -> float:
        """The Hodges-Lehmann estimate of the effect; infinite if most pairs of values have an infinite mean."""
        return _finite_or_infinite(float(np.median(self._walsh)))

    @property
    def is_constant(self) -> bool:
        """Never: ranks need no spread."""
        return False

    @cached_property
    def _walsh(self) -> NDArray[np.float64]:
        """The means of all pairs of values, of each value with itself too, ascending."""
        values = np.clip(self.values, -_HUGE, _HUGE)
        rows, columns = np.triu_indices(self.n)
        return np.sort(values[rows] / 2 + values[columns] / 2)

    def _p_value(self, sign: int, bound: float) -> float:
        return signed_rank_p(sign * np.array(self.values) - bound)

    def p_within(self, margin: float) -> float:
        """Always 1: an arm that diverges is not equal to one that does not, unless the rates are known as well."""
        return 1.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the effect: all bounds that the test of signed ranks does not exclude."""
        counts = np.ones(1)
        for rank in range(1, self.n + 1):
            counts = np.convolve(counts, [1.0, *[0.0] * (rank - 1), 1.0]) / 2
        left_out = int((np.cumsum(counts) <= (1 - level) / 2).sum())  # of the means of two, at either end
        if not left_out:
            return UNLIMITED
        return _finite_or_infinite(self._walsh[left_out - 1]), _finite_or_infinite(self._walsh[-left_out])


@dataclass(frozen=True)
class PartialSample(Sample):
    """Values of the seeds that finished, where a diverged run has no value: its reading was not there to be taken.

    What is missing may be anything within the limits, so each p-value and each end of the interval is that of the worst
    case. Without limits nothing can be shown.

    Attributes:
        missing: number of seeds without a value.
        kind: the sample that all values would be.
    """

    missing: int = 0
    kind: type[Sample] = Sample

    def _p_value(self, sign: int, bound: float) -> float:
        worst = self.limits[0] if sign > 0 else self.limits[1]
        return self._filled(worst)._p_value(sign, bound) if np.isfinite(worst) else 1.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval from the lower end in the worst case to the upper end in the best one."""
        low, high = self.limits
        return (
            self._filled(low).interval(level)[0] if np.isfinite(low) else -np.inf,
            self._filled(high).interval(level)[1] if np.isfinite(high) else np.inf,
        )

    def _filled(self, value: float) -> Sample:
        return self.kind((*self.values, *[value] * self.missing), self.limits, self.exact)


@cache
def _exponential_tails(n: int) -> NDArray[np.float64]:
    """Return Student's p-values of "the mean is at least the true one" for exponential values, ascending."""
    rng = np.random.default_rng(n)
    drawn = _DRAWN // max(1, n // 16)
    parts = [-np.log1p(-rng.random((drawn // 64 + 1, n))) for _ in range(64)]
    return np.sort(np.concatenate([Sample.tails(-part, -1.0) for part in parts]))


def sample_with_diverged(values: ArrayLike, limits: tuple[float, float], kind: type[Sample]) -> Sample:
    """Return the sample of effects of which some are those of diverged runs.

    Args:
        values: one effect per seed: infinite for a worst rank, NaN for one that is missing.
        limits: the smallest and the largest effect that is possible.
        kind: the sample that they would be if no run had diverged.

    Raises:
        UserError: if all are missing.
    """
    values = np.asarray(values, dtype=float)
    there = values[~np.isnan(values)]
    if there.size == values.size:
        return RankedSample(tuple(values.tolist()), limits)
    known = kind.of(there, limits)
    return PartialSample(known.values, limits, missing=values.size - there.size, kind=kind)


def _tail_ratio(n: int) -> float:
    """Return the limit of P(T < −x) over Student's probability for n exponential values, as x grows (Hotelling 1961).

    T is the t statistic about the true mean. Both tails fall like x^(1−n), with the constant ∫ (μ−u)^(n−1) f(u)^n du.
    """
    exponential = np.log(special.hyp1f1(n, n + 1, n)) - n - np.log(n)
    normal = -n / 2 * np.log(2 * np.pi) + np.log(0.5) + n / 2 * np.log(2 / n) + special.gammaln(n / 2)
    return float(np.exp(exponential - normal))


def flip_tail(values: NDArray[np.float64]) -> float:
    """Return the share of all 2^n ways to sign the sizes of the values whose sum is at least that of the values.

    It is the one-sided p-value of Fisher's randomisation test. The values are split in two halves, so that n = 40 needs
    2^20 sums. Beyond `_MOST_FLIPPED` values it is the p-value of the t test of the same values.
    """
    if len(values) > _MOST_FLIPPED:
        return float(Sample.tails(values[None], 0.0)[0])
    if (values > 0).all():  # no other signs have as large a sum
        return 0.5 ** len(values)
    sizes = np.abs(values[values != 0])
    first, second = (np.sort(_signed_sums(half)) for half in np.array_split(sizes, 2))
    least = values.sum() - 1e-9 * sizes.sum()  # equal sums differ by rounding errors
    enough = second.size - np.searchsorted(second, least - first[::-1])  # of the sums of the second half
    return float(enough.sum() / 2.0**sizes.size)


def _signed_sums(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums


def _finite_or_infinite(value: float) -> float:
    return float(value) if abs(value) < _HUGE / 1e10 else float(np.copysign(np.inf, value))
