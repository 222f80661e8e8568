"""How many seeds would decide a claim: the predictive probability of a verdict, given the seeds that there are.

A few seeds know neither the mean effect nor its spread. So both are drawn again and again from what the seeds leave
open (their posterior distribution under a flat prior: the mean is Student-distributed about the measured one, and the
spread follows an inverse chi distribution), the seeds to come are drawn from them, and the rule judges old and new
seeds together. All parts of a claim are drawn at once, with the correlation that their seeds show. The share of
verdicts is the predictive probability (Spiegelhalter, Freedman and Blackburn 1986, Controlled Clin. Trials 7, 8).

The claim is judged at alpha over the number of claims, Holm's first step, so that the probability errs on the low side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmablate.evidence.contrasts import Contrast, Equality
from lmablate.evidence.samples import Sample, SkewedSample

# The probability of a verdict that is worth the seeds.
GOAL = 0.8
# Numbers of seeds that are considered.
_NUMBERS = (5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
# More are not considered.
MOST_SEEDS = _NUMBERS[-1]
# Numbers of seeds that a page shows the probability for.
SHOWN = (8, 16, 32, 64)
_DRAWS = 400


def verdict_probability(contrasts: Sequence[Contrast], n: int, level: float, draws: int = _DRAWS) -> float | None:
    """Return the probability that a claim is decided when it has n seeds.

    Args:
        contrasts: the parts of the claim.
        n: the number of all seeds; parts that have more keep those they have.
        level: the level at which the claim is judged.
        draws: number of futures that are simulated.

    Returns:
        The probability; None if the spread of a part is unknown, since it has one seed or no spread, or because runs
        of it diverged.
    """
    if any(c.sample.n < 2 or c.sample.is_constant or type(c.sample) not in (Sample, SkewedSample) for c in contrasts):
        return None
    rng = np.random.default_rng(n)
    futures: dict[int, NDArray[np.float64]] = {}
    for size in {c.sample.n for c in contrasts}:
        alike = [place for place, c in enumerate(contrasts) if c.sample.n == size]
        drawn = _futures(np.array([contrasts[place].sample.values for place in alike]), n, draws, rng)
        futures |= dict(zip(alike, drawn, strict=True))
    supported, refuted, alike_shown = np.ones(draws, bool), np.zeros(draws, bool), np.zeros(draws, bool)
    for place, contrast in enumerate(contrasts):
        support, against, equivalent, large = _p_values(contrast, futures[place])
        supported &= (support <= level) & large
        refuted |= len(contrasts) * against <= level
        alike_shown |= len(contrasts) * equivalent <= level
    return float((supported | refuted | alike_shown).mean())


def seeds_for_verdict(contrasts: Sequence[Contrast], level: float) -> int | None:
    """Return about how many seeds decide a claim with probability GOAL; None if 256 are too few, or if unknown.

    Args:
        contrasts: the parts of the claim.
        level: the level at which the claim is judged.
    """
    numbers = [n for n in _NUMBERS if n > max(c.sample.n for c in contrasts)]
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        probability = verdict_probability(contrasts, numbers[middle], level)
        if probability is None:
            return None
        low, high = (low, middle) if probability >= GOAL else (middle + 1, high)
    return numbers[low] if low < len(numbers) else None


def _futures(values: NDArray[np.float64], n: int, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return n values of each part in each future, [parts, draws, n], of which the first are the given ones.

    Args:
        values: [parts, seeds].
        n: number of values in a future.
        draws: number of futures.
        rng: draws them.
    """
    parts, seeds = values.shape
    new = max(0, n - seeds)
    mean = values.mean(axis=1, keepdims=True)
    # Any mixture of the residuals by independent normal numbers has their covariance.
    residuals = (values - mean) / np.sqrt(seeds - 1)
    spread = np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, draws))[:, None, None]
    means = mean.T[:, None] + spread * rng.normal(size=(draws, 1, seeds)) @ residuals.T / np.sqrt(seeds)
    added = means + spread * rng.normal(size=(draws, new, seeds)) @ residuals.T  # [draws, new, parts]
    known = np.broadcast_to(values[:, None], (parts, draws, seeds))
    return np.concatenate([known, added.transpose(2, 0, 1)], axis=2)


def _p_values(
    contrast: Contrast, values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return p_support, p_against, p_equivalent and large_enough of a contrast, for samples [draws, n]."""
    tails, margin, (first, second) = type(contrast.sample).tails, contrast.margin, contrast.choices
    within = np.maximum(first * tails(values, -margin), second * tails(-values, -margin))
    if isinstance(contrast, Equality):
        outside = 4 * np.minimum(first * tails(values, margin), second * tails(-values, margin))
        return within, outside, np.ones(len(values)), np.ones(len(values), bool)
    equivalent = within if margin > 0 else np.ones(len(values))
    return 2 * first * tails(values, 0), 2 * second * tails(-values, 0), equivalent, values.mean(axis=1) >= margin
