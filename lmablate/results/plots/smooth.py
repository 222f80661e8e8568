"""Smoothing and thinning of curves for the eye. No statistic is computed from the results."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# A sum is taken at once over this number of half-lives: 2 ** 256 is far from the largest floating-point number.
BLOCK = 256.0


def two_sided_ema(steps: NDArray, values: NDArray, half_life: float) -> NDArray[np.float64]:
    """Return the moving average with weights 0.5 ** (distance / half_life). It looks both ways, so it does not lag.

    The average is debiased as Adam's moments are (arXiv 1412.6980, section 3): the weights sum to one, at the ends
    too, and also for steps at unequal distances.

    Args:
        steps: [steps], ascending.
        values: [steps] or [steps, runs]. Values that are not finite have no weight.
        half_life: in steps.

    Returns:
        The averages, in the shape of `values`; NaN where no value has a weight.
    """
    present = np.isfinite(values).astype(float)
    known = np.where(present > 0, values, 0.0)
    positions = np.asarray(steps, dtype=float) / half_life

    def sum_both_ways(series: NDArray) -> NDArray:
        return _decayed_sum(series, positions) + _decayed_sum(series[::-1], -positions[::-1])[::-1] - series

    weight = sum_both_ways(present)
    return np.divide(sum_both_ways(known), weight, out=np.full(values.shape, np.nan), where=weight > 0)


def _decayed_sum(values: NDArray, positions: NDArray) -> NDArray[np.float64]:
    """s[i] = sum over j <= i of values[j] * 0.5 ** (positions[i] - positions[j]), along the first axis.

    Args:
        values: [steps] or [steps, runs].
        positions: [steps] in half-lives, ascending.
    """
    sums = np.empty(values.shape)
    carried = np.zeros(values.shape[1:])
    start = 0
    while start < len(positions):
        stop = int(np.searchsorted(positions, positions[start] + BLOCK, side="right"))
        scale = np.exp2(positions[start:stop] - positions[start]).reshape(-1, *[1] * (values.ndim - 1))
        if start:
            carried = sums[start - 1] * 0.5 ** (positions[start] - positions[start - 1])
        sums[start:stop] = (np.cumsum(values[start:stop] * scale, axis=0) + carried) / scale
        start = stop
    return sums


def envelope(steps: NDArray, values: NDArray, points: int = 1000) -> tuple[NDArray, NDArray]:
    """Return at most 2 * `points` of the points, the lowest and the highest of each stretch, so spikes stay visible."""
    if len(values) <= 2 * points:
        return steps, values
    edges = np.linspace(0, len(values), points + 1).astype(int)
    chosen = sorted(
        {start + extreme(values[start:stop]) for start, stop in pairwise(edges) for extreme in (np.argmin, np.argmax)}
    )
    return steps[chosen], values[chosen]
