"""The kinds of claim about a trend: over the values of a factor, or over the layers of the model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lmablate.evidence.contrasts import Contrast, Difference, Equality
from lmablate.evidence.predicates import Predicate
from lmablate.evidence.samples import SkewedSample
from lmablate.evidence.stats import slope
from lmablate.evidence.tables import Levels, NotMeasured, RunTable, name_of


@dataclass(frozen=True, kw_only=True)
class SlopeWith(Predicate):
    """Over the values of a numeric factor the reading rises with a given slope, up to the margin.

    The slope is fitted to each seed's readings.

    Attributes:
        arm: the arm; may be left out if nothing but the factor varies.
        factor: the numeric factor.
        slope: the claimed slope, in units of the reading per unit of the factor.
        margin: the largest deviation from the slope that does not matter; it must be given.
    """

    arm: Levels = field(default_factory=dict)
    factor: str
    slope: float
    margin: float = field()

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one equality: that of the fitted and the claimed slope."""
        levels = table.levels(self.experiment, self.arm, self.factor)
        if len(levels) < 2:
            raise NotMeasured(f"{self.experiment} has fewer than two values of {self.factor}")
        runs = [table.runs(self.experiment, {**self.arm, self.factor: level}) for level in levels]
        seeds = sorted(set.intersection(*(set(r) for r in runs)))
        if not seeds:
            raise NotMeasured(f"no seed of {self.experiment} was run at every {self.factor}")
        slopes = [slope(levels, [self.reading.of(table, self.experiment, r[seed]) for r in runs]) for seed in seeds]
        label = f"{self.reading.in_words} rises by {self.slope:g} per unit of {self.factor}"
        used = tuple(r[seed] for r in runs for seed in seeds)
        return [self.contrast(Equality, label, np.array(slopes) - self.slope, table, used)]


@dataclass(frozen=True, kw_only=True)
class TrendWithDepth(Predicate):
    """A per-layer diagnostic rises or falls with depth, in itself or more than in another arm.

    The effect is the change along a fitted line from the first layer to the last, one fit per seed. The
    metric has {i} in place of the layer.

    Attributes:
        arm: the arm.
        direction: "rises" or "falls".
        than: the arm whose change is subtracted, paired by seed; empty to compare the change with 0.
    """

    arm: Levels
    direction: Literal["rises", "falls"]
    than: Levels = field(default_factory=dict)

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference: that of the change from 0, unpaired, or from that of the other arm."""
        runs = table.runs(self.experiment, self.arm)
        label = f"{self.reading.in_words} {self.direction} from the first layer to the last with {name_of(self.arm)}"
        if not self.than:
            return [self.contrast(Difference, label, self._changes(table, runs), table, [*runs.values()], SkewedSample)]
        mine, theirs = self.in_pairs(runs, table.runs(self.experiment, self.than))
        effects = np.subtract(self._changes(table, mine), self._changes(table, theirs))
        used = (*mine.values(), *theirs.values())
        return [self.contrast(Difference, f"{label}, more than with {name_of(self.than)}", effects, table, used)]

    def _changes(self, table: RunTable, runs: Mapping[int, str]) -> list[float]:
        """Return the change of each run, positive in the claimed direction; NaN if a divergence has cut it."""
        sign = 1 if self.direction == "rises" else -1
        return [sign * self._change(table, run) for run in runs.values()]

    def _change(self, table: RunTable, run: str) -> float:
        if self.reading.is_cut(table, self.experiment, run):
            return np.nan
        layers = self.reading.by_layer(table, self.experiment, run)
        if len(layers) < 2:
            raise NotMeasured(f"run {run} of {self.experiment} has one layer of {self.metric}, too few for a trend")
        return slope(np.linspace(0, 1, len(layers)), layers)
