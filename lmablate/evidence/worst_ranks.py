"""Ranks in which a diverged run is the worst of all, and the exact p-values of such ranks.

Leaving a diverged run out favours the arm that diverges: what is left of it are its lucky runs. Worst ranks (Lachin
1999, Controlled Clinical Trials 20, 408) keep it. A pair in which one run diverged has the largest rank, one in which
both did is a tie.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from lmablate.errors import UserError


def worst_differences(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the differences second − first of paired costs, of which NaN and +inf stand for a diverged run.

    A difference is +inf if only the second run diverged, −inf if only the first did, and 0 if both did.

    Raises:
        UserError: if they are not equally many.
    """
    a, b = np.array(first, dtype=float), np.array(second, dtype=float)
    if a.shape != b.shape:
        raise UserError(f"Paired values must be equally many, not {a.size} and {b.size}.")
    a_diverged, b_diverged = ~np.isfinite(a), ~np.isfinite(b)
    a[a_diverged], b[b_diverged] = 0, 0
    only = b_diverged.astype(int) - a_diverged.astype(int)
    return np.where(a_diverged | b_diverged, np.where(only == 0, 0.0, np.copysign(np.inf, only)), b - a)


def signed_rank_p(differences: ArrayLike) -> float:
    """Return the exact one-sided p-value of "the differences are not above 0", by signed ranks.

    Under the null hypothesis each sign is a fair coin, so the test is exact at any number of pairs (Wilcoxon 1945;
    ties have mid-ranks, and pairs without a difference are left out).
    """
    values = np.asarray(differences, dtype=float)
    values = values[values != 0]
    if not values.size:
        return 1.0
    doubled = np.rint(2 * rankdata(np.abs(values))).astype(int)
    counts = np.ones(1)  # of the sign patterns, by the doubled sum of the positive ranks
    for rank in doubled:
        grown = np.zeros(counts.size + rank)
        grown[: counts.size] += counts / 2
        grown[rank:] += counts / 2
        counts = grown
    return float(min(1.0, counts[doubled[values > 0].sum() :].sum()))


def rank_sum_p(first: ArrayLike, second: ArrayLike) -> float:
    """Return the exact one-sided p-value of "the first group is no better", of two groups of costs that are no pairs.

    A cost that is not finite is the worst. Under the null hypothesis any choice of the first group among all values is
    as likely (Wilcoxon 1945; ties have mid-ranks).
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    values = np.concatenate([a, b])
    doubled = np.rint(2 * rankdata(np.where(np.isfinite(values), values, np.inf))).astype(int)
    chances = np.zeros((a.size + 1, doubled.sum() + 1))  # of having chosen k values, by the doubled sum of their ranks
    chances[0, 0] = 1.0
    for seen, rank in enumerate(doubled):
        for k in range(min(a.size, seen + 1), 0, -1):
            chances[k, rank:] += chances[k - 1, : chances.shape[1] - rank]
    of_size = chances[a.size]
    return float(min(1.0, of_size[: doubled[: a.size].sum() + 1].sum() / of_size.sum()))
