"""Two groups of runs that are not pairs: Welch's t test, with the methods of a `Sample` of paired differences."""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lmablate.evidence import Sample


@dataclass(frozen=True)
class UnpairedSample:
    """The difference of two means, by Welch (1947, Biometrika 34, 28): the variances may differ.

    Attributes:
        mean: mean of the first group minus that of the second.
        sd: the standard error times the square root of n.
        n: number of values of the smaller group.
        df: degrees of freedom, by Satterthwaite.
        smallest_p: chance that the groups lie apart by chance, which stands for p if neither has any spread.
    """

    mean: float
    sd: float
    n: int
    df: float = float("nan")
    smallest_p: float = 1.0

    @classmethod
    def of_groups(cls, a: ArrayLike, b: ArrayLike) -> "UnpairedSample":
        """Summarise two groups of values.

        Raises:
            UserError: if one is not a non-empty list of finite numbers.
        """
        first, second = Sample.of(a), Sample.of(b)
        n = min(first.n, second.n)
        mean = first.mean - second.mean
        if n < 2:
            return cls(mean, float("nan"), n)
        parts = [first.sd**2 / first.n, second.sd**2 / second.n]
        variance = sum(parts)
        weights = parts[0] ** 2 / (first.n - 1) + parts[1] ** 2 / (second.n - 1)
        df = variance**2 / weights if weights else float("nan")
        return cls(mean, float(np.sqrt(variance * n)), n, df, 1 / comb(first.n + second.n, n))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided interval that covers the true difference with probability `level`."""
        if self.n < 2:
            return -np.inf, np.inf
        half = special.stdtrit(self.df, (1 + level) / 2) * self.sd / np.sqrt(self.n) if self.sd else 0.0
        return float(self.mean - half), float(self.mean + half)

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of the null hypothesis that the true difference is at most `bound`."""
        if self.n < 2:
            return 1.0
        if self.sd == 0:
            return self.smallest_p if self.mean > bound else 1.0
        return float(special.stdtr(self.df, (bound - self.mean) / (self.sd / np.sqrt(self.n))))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value of the null hypothesis that the true difference is at least `bound`."""
        mirrored = UnpairedSample(-self.mean, self.sd, self.n, self.df, self.smallest_p)
        return mirrored.p_above(-bound)

    def p_within(self, margin: float) -> float:
        """Return the p-value of the null hypothesis that the true difference lies outside (−margin, margin)."""
        return max(self.p_above(-margin), self.p_below(margin))
