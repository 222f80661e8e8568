"""The statistics behind a verdict: paired t, Holm, two one-sided tests, power, and summaries of a curve.

Arms of an ablation share their random numbers (initialisation and batches are functions of the seed), so
two runs of one seed are a pair, and what is tested is the mean of the pairs' differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from lmablate.errors import UserError

MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Sample:
    """What a t test needs of n independent values (paired differences, one per seed): mean, SD, n.

    sd is NaN for n = 1, where every p-value is 1 and every interval infinite: one seed has no spread.
    """

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: ArrayLike) -> "Sample":
        values = np.asarray(values, dtype=float)
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise UserError(f"A sample must be a non-empty list of finite numbers, not {values.tolist()}.")
        mean = float(values.mean())
        sd = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        # A spread of a few rounding errors is no spread, though a t test would take it for perfect certainty.
        return cls(mean, 0.0 if sd <= 1e-12 * abs(mean) else sd, values.size)

    @classmethod
    def paired(cls, a: ArrayLike, b: ArrayLike) -> "Sample":
        """The differences a − b of values that belong together pair by pair."""
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        if a.shape != b.shape:
            raise UserError(f"Paired values must be equally many, not {a.size} and {b.size}.")
        return cls.of(a - b)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided t interval that covers the true mean with probability `level`."""
        if self.n < 2:
            return -np.inf, np.inf
        half = special.stdtrit(self.n - 1, (1 + level) / 2) * self.sd / np.sqrt(self.n)
        return float(self.mean - half), float(self.mean + half)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the true mean is at most `bound`": small when it is surely above.

        Values without any spread come from a quantity that is discrete or saturated, for which the t
        distribution vouches for nothing; the exact sign test takes its place and cannot go below 2^-n.
        """
        if self.n < 2:
            return 1.0
        if self.sd == 0:
            return 0.5**self.n if self.mean > bound else 1.0
        return float(special.stdtr(self.n - 1, (bound - self.mean) / (self.sd / np.sqrt(self.n))))

    def p_below(self, bound: float) -> float:
        """One-sided p-value of "the true mean is at least `bound`": small when it is surely below."""
        return Sample(-self.mean, self.sd, self.n).p_above(-bound)

    def p_within(self, margin: float) -> float:
        """p-value of equivalence, small when the true mean surely lies in (−margin, margin).

        Two one-sided tests, the larger p-value (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657).
        """
        return max(self.p_above(-margin), self.p_below(margin))

    def p_outside(self, margin: float) -> float:
        """p-value, small when the true mean surely lies beyond the margin on one side, whichever it is."""
        return min(1.0, 2 * min(self.p_above(margin), self.p_below(-margin)))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment: rejecting where the result is <= α errs anywhere with probability <= α.

    It needs no assumption about the tests' dependence (Holm 1979, Scand. J. Statist. 6, 65).
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * (p_values.size - np.arange(p_values.size))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def power(effect: float, sd: float, n: int, alpha: float) -> float:
    """Chance that a one-sided paired t test at level alpha sees a true mean of `effect` (noncentral t)."""
    noncentrality = effect * np.sqrt(n) / sd
    return float(stats.nct.sf(stats.t.isf(alpha, n - 1), n - 1, noncentrality))


def seeds_needed(effect: float, sd: float, alpha: float = 0.025, goal: float = 0.8) -> int | None:
    """The fewest pairs with which a one-sided paired t test at level alpha has power `goal`.

    effect: the true mean to be seen, same unit as sd, the pairs' standard deviation from a pilot. A
    two-sided test at level 2·alpha needs the same number. None where no number up to a million will do, or
    the pilot's sd is unknown. Without spread the sign test decides, which needs 2^-n <= alpha.
    """
    if not effect > 0 or np.isnan(sd):
        return None
    if sd == 0:
        return max(2, int(np.ceil(-np.log2(alpha))))
    low, high = 1, 2
    while power(effect, sd, high, alpha) < goal:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, sd, middle, alpha) >= goal else (middle, high)
    return high


def seeds_needed_for_equivalence(margin: float, sd: float, alpha: float = 0.05, goal: float = 0.8) -> int | None:
    """The pairs with which two one-sided tests show a true zero to be within the margin with power >= `goal`.

    Each side may fail with half of 1 − goal: a bound, exact enough for planning, that never promises too
    much.
    """
    return seeds_needed(margin, sd, alpha, (1 + goal) / 2)


def variance_ratio(a: ArrayLike, b: ArrayLike) -> float:
    """Variance of the paired difference over what it would be without pairing, var(a) + var(b).

    Below 1 common random numbers pay: that fraction of the seeds gives the same standard error.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return Sample.paired(a, b).sd ** 2 / float(a.var(ddof=1) + b.var(ddof=1))


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Ordinary least squares slope of y against x, in units of y per unit of x."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if np.unique(x).size < 2:
        raise UserError(f"A slope needs at least two different positions, not {np.unique(x).tolist()}.")
    deviation = x - x.mean()
    return float(deviation @ (y - y.mean()) / (deviation @ deviation))


def late_slope(steps: ArrayLike, losses: ArrayLike, since: float = 0.5) -> float:
    """Slope of the loss per step, over the points from the fraction `since` of the last step on."""
    steps, losses = np.asarray(steps, dtype=float), np.asarray(losses, dtype=float)
    late = steps >= since * steps.max()
    return slope(steps[late], losses[late])


def compare_late_slopes(steps: ArrayLike, a: Sequence[ArrayLike], b: Sequence[ArrayLike], since: float = 0.5) -> Sample:
    """Late slope of a's loss minus b's, paired over seeds: a[i] and b[i] are the curves of seed i over
    `steps`.

    Both slopes are usually negative; a positive mean says that a has stalled more than b.
    """
    return Sample.paired(
        [late_slope(steps, curve, since) for curve in a], [late_slope(steps, curve, since) for curve in b]
    )


def spike_score(values: ArrayLike, window: int = 100, sigmas: float = 6.0) -> float:
    """Fraction of points more than `sigmas` standard deviations from the mean of the `window` points before.

    After the spike score of OLMo 2 (arXiv 2501.00656), with two differences. The window ends before the
    point that it judges: inside a window of w points no deviation can exceed (w−1)/√w standard deviations,
    so that a short window could never see six. And 6 sigma over 100 points are the defaults, where OLMo 2
    has runs long enough for 7 over 1000. Only points with a full window behind them count. A non-finite
    point is a spike, and does not enter the windows of those after it.
    """
    values = np.asarray(values, dtype=float)
    if values.size <= window:
        raise UserError(f"A spike score over a window of {window} needs more than {values.size} points.")
    windows = np.lib.stride_tricks.sliding_window_view(values, window)[:-1]
    history, judged = np.ma.masked_invalid(windows), values[window:]
    mean, sd = history.mean(axis=1).filled(np.nan), history.std(axis=1).filled(np.nan)
    return float(np.mean(~(np.abs(judged - mean) <= sigmas * sd)))


def learning_rate_sensitivity(losses: ArrayLike, initial_loss: float) -> float:
    """Mean over the grid of min(final loss, loss at initialisation), minus the best loss (arXiv 2309.14322).

    losses: final loss at each learning rate of a grid, evenly spaced in its logarithm as the paper's average
    demands. A diverged run counts as one that learnt nothing.
    """
    losses = np.asarray(losses, dtype=float)
    capped = np.minimum(np.where(np.isfinite(losses), losses, initial_loss), initial_loss)
    return float(capped.mean() - capped.min())
