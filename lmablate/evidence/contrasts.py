"""A contrast: one measured effect, and the three p-values from which its verdict follows.

Every p-value is in two-sided units, so that all can be compared with the same level alpha. The p-value of a one-sided
test is doubled. That of two one-sided tests of equivalence, and that of a two-sided test, stay as they are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lmablate.evidence.stats import Sample, seeds_needed, seeds_needed_for_equivalence


@dataclass(frozen=True)
class Contrast(ABC):
    """An effect over independent seeds.

    The effect of a claimed difference is positive if it supports the claim; that of an equality is the difference.

    Attributes:
        label: the claimed relation in words, as a clause that follows "that".
        sample: the effect of each seed, summarised.
        margin: the smallest effect of interest, in the effect's unit; 0 if the claim states none.
        runs: ids of all runs that the effect was measured on.
        note: a warning, appended to the verdict's sentence; may be empty.
        level: coverage of the interval that decides at alpha = 0.05 if there is no other claim.
    """

    label: str
    sample: Sample
    margin: float
    runs: tuple[str, ...]
    note: str = ""

    level: ClassVar[float]

    @property
    def interval(self) -> tuple[float, float]:
        """The t interval of the effect, with coverage `level`."""
        return self.sample.interval(self.level)

    @property
    @abstractmethod
    def p_support(self) -> float:
        """The p-value of the hypothesis that the claimed relation does not hold: a small one supports the claim."""

    @property
    @abstractmethod
    def p_against(self) -> float:
        """The p-value of the hypothesis that its contrary does not hold: a small one refutes the claim."""

    @property
    @abstractmethod
    def p_equivalent(self) -> float:
        """The p-value of the hypothesis that the effect reaches the margin: a small one shows that it is negligible."""

    @property
    @abstractmethod
    def large_enough(self) -> bool:
        """Whether the measured effect is as large as the claim demands."""

    @abstractmethod
    def seeds_needed(self, alpha: float) -> int | None:
        """Return how many seeds would decide it at level alpha with power 0.8, if the spread is as measured.

        None means that no feasible number would do, or that the spread is unknown since there is only one seed.
        """


class Difference(Contrast):
    """The claim that the true effect is above 0.

    At alpha = 0.05, without other claims and with some spread, the tests agree with the 95 % interval: they support
    the claim if it lies above 0, and refute it if it lies below.
    """

    level = 0.95

    @property
    def p_support(self) -> float:
        """Twice the one-sided p-value of "the true effect is at most 0"."""
        return min(1.0, 2 * self.sample.p_above(0))

    @property
    def p_against(self) -> float:
        """Twice the one-sided p-value of "the true effect is at least 0"."""
        return min(1.0, 2 * self.sample.p_below(0))

    @property
    def p_equivalent(self) -> float:
        """The p-value of "the true effect reaches the margin", by two one-sided tests; 1 without a margin."""
        return self.sample.p_within(self.margin) if self.margin > 0 else 1.0

    @property
    def large_enough(self) -> bool:
        """Whether the measured effect is at least the margin."""
        return self.sample.mean >= self.margin

    def seeds_needed(self, alpha: float) -> int | None:
        """Return how many seeds would show a true effect as large as measured, or as the margin if that is larger."""
        return seeds_needed(max(abs(self.sample.mean), self.margin), self.sample.sd, alpha / 2)


class Equality(Contrast):
    """The claim that the true effect lies within the margin of 0.

    At alpha = 0.05, without other claims and with some spread, the tests agree with the t intervals: they support the
    claim if the 90 % interval lies within the margin, and refute it if the 95 % interval lies beyond the margin.
    """

    level = 0.90

    @property
    def p_support(self) -> float:
        """The p-value of "the true effect reaches the margin", by two one-sided tests."""
        return self.sample.p_within(self.margin)

    @property
    def p_against(self) -> float:
        """The p-value of "the true effect is within the margin", against an effect beyond it on either side."""
        return self.sample.p_outside(self.margin)

    @property
    def p_equivalent(self) -> float:
        """Always 1, since no difference is claimed."""
        return 1.0

    @property
    def large_enough(self) -> bool:
        """Always true, since no difference is claimed."""
        return True

    def seeds_needed(self, alpha: float) -> int | None:
        """Return how many seeds would show the equality, if the true effect is 0."""
        return seeds_needed_for_equivalence(self.margin, self.sample.sd, alpha)
