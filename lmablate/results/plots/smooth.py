"""Smoothing and thinning of curves for the eye. No statistic is computed from what these return."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 256.0
"""Half-lives over which a sum is taken at once: 2 ** 256 is far from the largest floating-point number."""


def two_sided_ema(steps: NDArray, values: NDArray, half_life: float) -> NDArray[np.float64]:
    """Moving average over both sides, so that it does not lag, with weights 0.5 ** (distance / half_life).

    values: (steps,) or (steps, runs). It is debiased as Adam's moments are (arXiv 1412.6980, section 3): the
    weights sum to one at the ends too, and at steps at unequal distances. Values that are not finite have no weight.
    """
    present = np.isfinite(values).astype(float)
    known = np.where(present > 0, values, 0.0)
    time = np.asarray(steps, dtype=float) / half_life

    def both(series: NDArray) -> NDArray:
        return _decayed_sum(series, time) + _decayed_sum(series[::-1], -time[::-1])[::-1] - series

    weight = both(present)
    return np.divide(both(known), weight, out=np.full(values.shape, np.nan), where=weight > 0)


def _decayed_sum(values: NDArray, time: NDArray) -> NDArray[np.float64]:
    """s[i], the sum over j <= i of values[j] * 0.5 ** (time[i] - time[j]), along the first axis; time ascends."""
    sums = np.empty(values.shape)
    carried: Any = 0.0
    start = 0
    while start < len(time):
        stop = int(np.searchsorted(time, time[start] + BLOCK, side="right"))
        scale = np.exp2(time[start:stop] - time[start]).reshape(-1, *[1] * (values.ndim - 1))
        if start:
            carried = sums[start - 1] * 0.5 ** (time[start] - time[start - 1])
        sums[start:stop] = (np.cumsum(values[start:stop] * scale, axis=0) + carried) / scale
        start = stop
    return sums


def envelope(steps: NDArray, values: NDArray, points: int = 1000) -> tuple[NDArray, NDArray]:
    """At most 2 * `points` of the points, the lowest and the highest of each stretch: spikes stay visible."""
    if len(values) <= 2 * points:
        return steps, values
    edges = np.linspace(0, len(values), points + 1).astype(int)
    chosen = sorted(
        {start + extreme(values[start:stop]) for start, stop in pairwise(edges) for extreme in (np.argmin, np.argmax)}
    )
    return steps[chosen], values[chosen]
