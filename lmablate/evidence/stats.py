"""Statistics that know nothing of runs: Holm's correction, power, summaries of a curve."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lmablate.errors import UserError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted by Holm's step-down method.

    Reject each null hypothesis whose adjusted p-value is <= α. Then the probability of any false rejection among all
    the tests is <= α, whatever the dependence between the tests (Holm 1979, Scand. J. Statist. 6, 65).

    Args:
        p_values: one p-value per test, in any order.

    Returns:
        The adjusted p-values, in the same order.
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * (p_values.size - np.arange(p_values.size))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def power(effect: float, sd: float, n: int, alpha: float) -> float:
    """Return the power of a one-sided paired t test, by the noncentral t distribution.

    Args:
        effect: the true mean of the paired differences.
        sd: their true standard deviation, in the same unit.
        n: number of pairs, at least 2.
        alpha: level of the test.

    Returns:
        The probability that the test rejects the hypothesis that the true mean is at most 0.
    """
    noncentrality = effect * np.sqrt(n) / sd
    return float(stats.nct.sf(stats.t.isf(alpha, n - 1), n - 1, noncentrality))


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Return the ordinary least squares slope of y against x, in units of y per unit of x.

    Raises:
        UserError: if x has fewer than two different values.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if np.unique(x).size < 2:
        raise UserError(f"A slope needs at least two different positions, not {np.unique(x).tolist()}.")
    deviation = x - x.mean()
    return float(deviation @ (y - y.mean()) / (deviation @ deviation))


def spike_score(values: ArrayLike, window: int = 100, sigmas: float = 6.0) -> float:
    """Return the fraction of points more than `sigmas` standard deviations from the mean of the `window` points before.

    This is the spike score of OLMo 2 (arXiv 2501.00656) with two differences. First, the window ends before the point
    that it judges: inside a window of w points no deviation can exceed (w−1)/√w standard deviations, so a short window
    could never show six. Second, the defaults are 6 sigma over 100 points; OLMo 2 has runs long enough for 7 sigma
    over 1000. Only points with a full window before them count. A point that is not finite is a spike, and is left out
    of the windows of the points after it.

    Args:
        values: the curve, one value per step.
        window: number of points before each judged point.
        sigmas: the deviation, in standard deviations, beyond which a point is a spike.

    Raises:
        UserError: if there are not more than `window` points.
    """
    values = np.asarray(values, dtype=float)
    if values.size <= window:
        raise UserError(f"A spike score over a window of {window} needs more than {values.size} points.")
    windows = np.lib.stride_tricks.sliding_window_view(values, window)[:-1]
    history, judged = np.ma.masked_invalid(windows), values[window:]
    mean, sd = history.mean(axis=1).filled(np.nan), history.std(axis=1).filled(np.nan)
    return float(np.mean(~(np.abs(judged - mean) <= sigmas * sd)))


def learning_rate_sensitivity(losses: ArrayLike, untrained: float) -> float:
    """Return the sensitivity of the final loss to the learning rate, as in arXiv 2309.14322.

    It is the mean over a grid of rates of min(final loss, untrained loss), minus the best of these losses. A run whose
    final loss is not finite counts as one that learnt nothing.

    Args:
        losses: final loss at each learning rate of a grid; the paper's average demands a grid that is evenly spaced in
            the logarithm of the rate.
        untrained: the loss of a model that has learnt nothing, in the same unit (see `divergence`).
    """
    losses = np.asarray(losses, dtype=float)
    capped = np.minimum(np.where(np.isfinite(losses), losses, untrained), untrained)
    return float(capped.mean() - capped.min())
