"""How much a number varies from seed to seed, and which effects that lets one see."""

from typing import Any

import numpy as np
from scipy import optimize, stats

from lmablate.evidence.stats import power

# Effects in standard deviations between which the smallest one is sought.
_LEAST, _MOST = 1e-6, 1e6


def sd_interval(sd: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval that covers the true standard deviation of normal values with probability `level`.

    Args:
        sd: the measured one, with n − 1 in the denominator.
        n: number of values, at least 2.
        level: its coverage.
    """
    below, above = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], n - 1)
    return float(sd * np.sqrt((n - 1) / below)), float(sd * np.sqrt((n - 1) / above))


def smallest_effect(sd: float, n: int, alpha: float, goal: float = 0.8) -> float:
    """Return the smallest true mean of paired differences that a t test at level alpha finds with power `goal`.

    Args:
        sd: true standard deviation of the differences; the result has its unit.
        n: number of pairs, at least 2.
        alpha: level of a two-sided test.
        goal: the power.
    """
    if sd == 0:
        return 0.0
    log_effect: Any = optimize.brentq(
        lambda x: power(float(np.exp(x)), 1.0, n, alpha / 2) - goal, *np.log([_LEAST, _few_sd(n, alpha)])
    )
    return sd * float(np.exp(log_effect))


def _few_sd(n: int, alpha: float) -> float:
    """Return an effect, in standard deviations, that the test finds nearly always."""
    return min(_MOST, 4 * float(stats.t.isf(alpha / 2, n - 1)) + 10)
