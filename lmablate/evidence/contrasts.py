"""A contrast: one measured effect, and the three p-values from which its verdict follows.

Every p-value is in two-sided units, so that all can be compared with the same level alpha. The p-value of a one-sided
test is doubled. That of two one-sided tests of equivalence stays as it is: both must err.

Where the arms were chosen among several by the seeds that are compared, such as each arm's best learning rate, a
p-value is multiplied by the number of choices that could have flattered that side (Bonferroni).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from lmablate.evidence.samples import Sample


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
        level: coverage of the interval that decides at alpha = 0.05 if there is no other claim.
    """

    label: str
    sample: Sample
    margin: float
    runs: tuple[str, ...]
    note: str = ""
    diverged: int = 0
    choices: tuple[int, int] = (1, 1)

    level: ClassVar[float]

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the effect, with coverage `level`; it is wider where arms were chosen."""
        low, high = (self.sample.interval(1 - (1 - self.level) / choices) for choices in self.choices)
        return low[0], high[1]

    @property
    def exact(self) -> Self:
        """The same contrast, judged without the assumption that seeds differ normally (see `Sample.exact`)."""
        return replace(self, sample=replace(self.sample, exact=True))

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

    @cached_property
    @abstractmethod
    def p_support(self) -> float:
        """The p-value of the hypothesis that the claimed relation does not hold: a small one supports the claim."""

    @cached_property
    @abstractmethod
    def p_against(self) -> float:
        """The p-value of the hypothesis that its contrary does not hold: a small one refutes the claim."""

    @cached_property
    @abstractmethod
    def p_equivalent(self) -> float:
        """The p-value of the hypothesis that the effect reaches the margin: a small one shows that it is negligible."""

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
    def p_support(self) -> float:
        """Twice the one-sided p-value of "the true effect is at most 0"."""
        return min(1.0, 2 * self._above(0))

    @cached_property
    def p_against(self) -> float:
        """Twice the one-sided p-value of "the true effect is at least 0"."""
        return min(1.0, 2 * self._below(0))

    @cached_property
    def p_equivalent(self) -> float:
        """The p-value of "the true effect reaches the margin", by two one-sided tests; 1 without a margin."""
        return self._p_within_margin if self.margin > 0 else 1.0

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
    def p_support(self) -> float:
        """The p-value of "the true effect reaches the margin", by two one-sided tests."""
        return self._p_within_margin

    @cached_property
    def p_against(self) -> float:
        """The p-value of "the true effect is within the margin", against an effect beyond it on either side.

        Twice for the two sides, since a spread that is wide against the margin makes both err, and twice more to be in
        the units of a difference, which is refuted at alpha / 2.
        """
        return min(1.0, 4 * min(self._above(self.margin), self._below(-self.margin)))

    @cached_property
    def p_equivalent(self) -> float:
        """Always 1, since no difference is claimed."""
        return 1.0

    @property
    def large_enough(self) -> bool:
        """Always true, since no difference is claimed."""
        return True
