"""The kinds of claim about the parts of a factorial design, in which every run counts for every part.

Of each seed the readings of all arms with an option are averaged, and these averages are compared. In a full design,
and in a fraction that keeps the compared effects apart, the other parts cancel. The seeds are independent, whatever the
noise of the arms is, so their effects are a sample like any other.
"""

from dataclasses import dataclass

import numpy as np

from lmablate.evidence.contrasts import Contrast, Difference
from lmablate.evidence.predicates import Predicate
from lmablate.evidence.tables import Levels, NotMeasured, RunTable, name_of

# The runs that have some options, by seed.
Cell = dict[int, list[str]]


@dataclass(frozen=True, kw_only=True)
class MainEffect(Predicate):
    """Averaged over all other parts of a design, the reading is lower with one option of a part than with another.

    Attributes:
        better: the option with the lower reading, such as {model/pos: rope}.
        worse: the option with the higher one.
    """

    better: Levels
    worse: Levels

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference."""
        label = (
            f"on average {self.reading.in_words} is lower with {name_of(self.better)} than with {name_of(self.worse)}"
        )
        return [self._of_cells(table, label, [(1, self.worse), (-1, self.better)])]

    def _of_cells(self, table: RunTable, label: str, cells: list[tuple[int, Levels]]) -> Contrast:
        """Return the contrast of a sum of cells' means, each with its sign.

        Raises:
            NotMeasured: if no seed has all runs of each cell.
        """
        runs = [table.runs_by_seed(self.experiment, levels) for _, levels in cells]
        full = [max(map(len, cell.values())) for cell in runs]
        seeds = sorted(
            set.intersection(
                *({seed for seed in cell if len(cell[seed]) == most} for cell, most in zip(runs, full, strict=True))
            )
        )
        if not seeds:
            raise NotMeasured(f"no seed of {self.experiment} has all arms of its design")
        signs = [sign for sign, _ in cells]
        effects = [
            sum(s * self._mean(table, cell[seed]) for s, cell in zip(signs, runs, strict=True)) for seed in seeds
        ]
        used = tuple(dict.fromkeys(run for cell in runs for seed in seeds for run in cell[seed]))
        return self.contrast(Difference, label, effects, table, used)

    def _mean(self, table: RunTable, runs: list[str]) -> float:
        return float(np.mean([self.reading.of(table, self.experiment, run) for run in runs]))


@dataclass(frozen=True, kw_only=True)
class Interaction(MainEffect):
    """The lead of one option of a part over another is larger with one option of a second part than with another.

    Attributes:
        larger_with: the option of the second part with the larger lead.
        than_with: its option with the smaller lead.
    """

    larger_with: Levels
    than_with: Levels

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference: that of the two leads."""
        label = (
            f"the lead of {name_of(self.better)} over {name_of(self.worse)} in {self.reading.in_words} is larger with "
            f"{name_of(self.larger_with)} than with {name_of(self.than_with)}"
        )
        cells = [
            (sign * side, {**option, **part})
            for side, part in ((1, self.larger_with), (-1, self.than_with))
            for sign, option in ((1, self.worse), (-1, self.better))
        ]
        return [self._of_cells(table, label, cells)]
