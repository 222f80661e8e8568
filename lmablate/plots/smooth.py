"""Smoothing and thinning of curves for the eye. No statistic is computed from what these return."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def two_sided_ema(steps: NDArray, values: NDArray, half_life: float) -> NDArray[np.float64]:
    """Moving average over both sides, so that it does not lag, with weights 0.5 ** (distance / half_life).

    It is debiased as Adam's moments are (arXiv 1412.6980, section 3): the weights sum to one at the ends too,
    and at steps at unequal distances. Values that are not finite have no weight.
    """
    present = np.isfinite(values).astype(float)
    known = np.where(present > 0, values, 0.0)
    decays = 0.5 ** (np.diff(steps, prepend=steps[:1]) / half_life)
    back = np.append(decays[1:], 1.0)[::-1]

    def both(series: NDArray) -> NDArray:
        return decayed_sum(series, decays) + decayed_sum(series[::-1], back)[::-1] - series

    weight = both(present)
    return np.divide(both(known), weight, out=np.full(len(values), np.nan), where=weight > 0)


def decayed_sum(values: NDArray, decays: NDArray) -> NDArray[np.float64]:
    """s[i] = decays[i] * s[i - 1] + values[i]."""
    total, sums = 0.0, np.empty(len(values))
    for i, (value, decay) in enumerate(zip(values.tolist(), decays.tolist(), strict=True)):
        total = decay * total + value
        sums[i] = total
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
