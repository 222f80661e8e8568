"""Smoothing and thinning of curves for the eye. No statistic is computed from what these return."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def debiased_ema(steps: NDArray, values: NDArray, half_life: float) -> NDArray[np.float64]:
    """Exponential moving average whose weights, halved every `half_life` steps, always sum to one.

    The debiasing is Adam's (arXiv 1412.6980, section 3), generalised to steps at unequal distances; values
    that are not finite are passed over.
    """
    decays = 0.5 ** (np.diff(steps, prepend=steps[:1]) / half_life)
    total, weight = 0.0, 0.0
    smoothed = np.full(len(values), np.nan)
    for i, (value, decay, finite) in enumerate(zip(values, decays, np.isfinite(values), strict=True)):
        total, weight = decay * total, decay * weight
        if finite:
            total, weight = total + value, weight + 1.0
        if weight > 0:
            smoothed[i] = total / weight
    return smoothed


def envelope(steps: NDArray, values: NDArray, points: int = 1000) -> tuple[NDArray, NDArray]:
    """At most 2 * `points` of the points, the lowest and the highest of each stretch: spikes stay visible."""
    if len(values) <= 2 * points:
        return steps, values
    edges = np.linspace(0, len(values), points + 1).astype(int)
    chosen = sorted(
        {
            start + extreme(values[start:stop])
            for start, stop in pairwise(edges)
            for extreme in (np.argmin, np.argmax)
        }
    )
    return steps[chosen], values[chosen]
