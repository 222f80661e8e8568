"""A contrast: one measured effect, and the three p-values from which its verdict follows.

Every p-value is in two-sided units, so that all can be compared with the same level alpha. The p-value of a one-sided
test is doubled. That of two one-sided tests of equivalence stays as it is: both must err.

Where the arms were chosen among several by the seeds that are compared, such as each arm's best learning rate, a
p-value is multiplied by the number of choices that could have flattered that side (Bonferroni). Where seeds are added
by planned looks, it is the smallest so far times the number of looks (see `looks`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from lmablate.evidence.samples import Sample

# The p-values of a contrast: for it, against it, and of equivalence.
PValues = tuple[float, float, float]
_NONE_YET: PValues = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Contrast(ABC):
    """An effect over independent seeds.

    The effect of a claimed difference is positive if it supports the claim; that of an equality is the difference.

    Attributes:
        label: the claimed relation in words, as a clause that follows "that".
        sample: the effect of each seed.
        margin: the smallest effect of interest, in the effect's unit; 0 if the claim states none.
        runs: ids of all runs that the effect was measured on.
        note: a warning, appended to the verdict's sentence; may be empty.
        diverged: number of these runs that diverged.
        choices: among how many was chosen the arm that a positive effect flatters, and the one that a negative does.
        looks: number of planned looks, at each of which one may stop.
        earlier: the smallest p-values of the looks before this one, uncorrected: by the sample's own test, and by the
            exact one.
        level: coverage of the interval that decides at alpha = 0.05 if there is no other claim.
    """

    label: str
    sample: Sample
    margin: float
    runs: tuple[str, ...]
    note: str = ""
    diverged: int = 0
    choices: tuple[int, int] = (1, 1)
    looks: int = 1
    earlier: tuple[PValues, PValues] = (_NONE_YET, _NONE_YET)

    level: ClassVar[float]

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the effect, with coverage `level`; it is wider where arms were chosen or looks planned."""
        low, high = (self.sample.interval(1 - (1 - self.level) / (choices * self.looks)) for choices in self.choices)
        return low[0], high[1]

    @property
    def exact(self) -> Self:
        """The same contrast, judged without the assumption that seeds differ normally (see `Sample.exact`)."""
        return replace(self, sample=replace(self.sample, exact=True), earlier=(self.earlier[1], self.earlier[1]))

    @property
    def p_support(self) -> float:
        """The p-value of the hypothesis that the claimed relation does not hold: a small one supports the claim."""
        return self._over_looks(0)

    @property
    def p_against(self) -> float:
        """The p-value of the hypothesis that its contrary does not hold: a small one refutes the claim."""
        return self._over_looks(1)

    @property
    def p_equivalent(self) -> float:
        """The p-value of the hypothesis that the effect reaches the margin: a small one shows that it is negligible."""
        return self._over_looks(2)

    def _over_looks(self, side: int) -> float:
        """Return one of the p-values, valid whenever one stops (see `LookPlan.p`)."""
        return min(1.0, self.looks * min(self.p_values[side], self.earlier[0][side]))

    @cached_property
    @abstractmethod
    def p_values(self) -> PValues:
        """The p-values of these seeds alone, not corrected for looks: for the relation, against it, equivalent."""

    def _above(self, bound: float) -> float:
        """Return the one-sided p-value of "the true effect is at most `bound`", corrected for the choice."""
        return min(1.0, self.choices[0] * self.sample.p_above(bound))

    def _below(self, bound: float) -> float:
        """Return the one-sided p-value of "the true effect is at least `bound`", corrected for the choice."""
        return min(1.0, self.choices[1] * self.sample.p_below(bound))

    @cached_property
    def _p_within_margin(self) -> float:
        """The p-value of "the true effect reaches the margin", by two one-sided tests (Schuirmann 1987)."""
        return max(self._above(-self.margin), self._below(self.margin), self.sample.p_within(self.margin))

    @property
    @abstractmethod
    def large_enough(self) -> bool:
        """Whether the measured effect is as large as the claim demands."""


class Difference(Contrast):
    """The claim that the true effect is above 0.

    At alpha = 0.05, without other claims, the tests agree with the 95 % interval: they support the claim if it lies
    above 0, and refute it if it lies below.
    """

    level = 0.95

    @cached_property
    def p_values(self) -> PValues:
        """Twice the one-sided p-value of "the true effect is at most 0"; twice that of "at least 0"; equivalence.

        The last is the p-value of "the true effect reaches the margin", by two one-sided tests; 1 without a margin.
        """
        equivalent = self._p_within_margin if self.margin > 0 else 1.0
        return min(1.0, 2 * self._above(0)), min(1.0, 2 * self._below(0)), equivalent

    @property
    def large_enough(self) -> bool:
        """Whether the measured effect is at least the margin."""
        return self.sample.mean >= self.margin


class Equality(Contrast):
    """The claim that the true effect lies within the margin of 0.

    At alpha = 0.05, without other claims, the tests agree with the intervals: they support the claim if the 90 %
    interval lies within the margin, and refute it if the 97.5 % interval lies beyond the margin.
    """

    level = 0.90

    @cached_property
    def p_values(self) -> PValues:
        """The p-value of "the true effect reaches the margin", by two one-sided tests; that of "it is within"; 1.

        The second is against an effect beyond the margin on either side: twice for the two sides, since a spread that
        is wide against the margin makes both err, and twice more to be in the units of a difference, which is refuted
        at alpha / 2. The third is 1, since no difference is claimed.
        """
        against = min(1.0, 4 * min(self._above(self.margin), self._below(-self.margin)))
        return self._p_within_margin, against, 1.0

    @property
    def large_enough(self) -> bool:
        """Always true, since no difference is claimed."""
        return True
