"""One measured effect and the three p-values that a verdict needs of it.

Every p-value is in two-sided units, so that one level alpha serves them all: a one-sided test is doubled,
while two one-sided tests of equivalence, and a two-sided test, stand as they are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lmablate.evidence.stats import Sample, seeds_needed, seeds_needed_for_equivalence


@dataclass(frozen=True)
class Contrast(ABC):
    """An effect over independent seeds, oriented so that a positive one speaks for the claim.

    label: the claimed relation in words, to follow "that". margin: the smallest effect of interest in the
    effect's unit, 0 where the claim states none. runs: the ids of all runs that it was measured on.
    """

    label: str
    sample: Sample
    margin: float
    runs: tuple[str, ...]
    note: str = ""

    level: ClassVar[float]
    """Coverage of the interval that decides alone, at alpha = 0.05 and without other claims."""

    @property
    def interval(self) -> tuple[float, float]:
        return self.sample.interval(self.level)

    @property
    @abstractmethod
    def p_support(self) -> float:
        """Small when what is claimed surely holds."""

    @property
    @abstractmethod
    def p_against(self) -> float:
        """Small when the contrary surely holds."""

    @property
    @abstractmethod
    def p_equivalent(self) -> float:
        """Small when a difference that is claimed is surely smaller than matters."""

    @property
    @abstractmethod
    def large_enough(self) -> bool:
        """Whether the effect as measured is as large as the claim demands."""

    @abstractmethod
    def seeds_needed(self, alpha: float) -> int | None:
        """Seeds that would decide it at level alpha with power 0.8, if the spread is as measured."""


class Difference(Contrast):
    """Claims that the true effect is above 0."""

    level = 0.95

    @property
    def p_support(self) -> float:
        return min(1.0, 2 * self.sample.p_above(0))

    @property
    def p_against(self) -> float:
        return min(1.0, 2 * self.sample.p_below(0))

    @property
    def p_equivalent(self) -> float:
        return self.sample.p_within(self.margin) if self.margin > 0 else 1.0

    @property
    def large_enough(self) -> bool:
        return self.sample.mean >= self.margin

    def seeds_needed(self, alpha: float) -> int | None:
        """For an effect as large as measured or as the margin, whichever is larger."""
        return seeds_needed(max(abs(self.sample.mean), self.margin), self.sample.sd, alpha / 2)


class Equality(Contrast):
    """Claims that the true effect lies within the margin of 0."""

    level = 0.90

    @property
    def p_support(self) -> float:
        return self.sample.p_within(self.margin)

    @property
    def p_against(self) -> float:
        return self.sample.p_outside(self.margin)

    @property
    def p_equivalent(self) -> float:
        return 1.0

    @property
    def large_enough(self) -> bool:
        return True

    def seeds_needed(self, alpha: float) -> int | None:
        """For a true effect of 0."""
        return seeds_needed_for_equivalence(self.margin, self.sample.sd, alpha)
