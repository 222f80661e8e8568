"""The kinds of claim: each measures, on a table of runs, the contrasts that must all hold.

Adding a kind is adding a class here: its fields are the keys that a claim's yaml may use, and its name there
is the class's in snake_case.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from lmablate.evidence.contrasts import Contrast, Difference, Equality
from lmablate.evidence.readings import WHOLE, During, Reading
from lmablate.evidence.stats import Sample, learning_rate_sensitivity, slope
from lmablate.evidence.tables import Arm, NotMeasured, RunTable, name_of

PREDICATES: dict[str, type["Predicate"]] = {}

Reduction = Literal["first", "last", "mean", "sd", "change", "spikes", "peak_to_median", "peak_step"]


@dataclass(frozen=True, kw_only=True)
class Predicate(ABC):
    """experiment: whose runs. metric, reduce, during, transform, minus: the reading, see `Reading`.

    margin: smallest effect of interest, in the unit of the reading (with transform log: of the log ratio).
    """

    experiment: str
    metric: str
    margin: float = 0.0
    reduce: Reduction = "last"
    during: During = WHOLE
    transform: Literal["identity", "log"] = "identity"
    minus: str | None = None

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        PREDICATES[cls.name] = cls

    @abstractmethod
    def measure(self, table: RunTable) -> list[Contrast]:
        """The contrasts that must all hold. Raises NotMeasured where the table lacks what they need."""

    @property
    def reading(self) -> Reading:
        return Reading(self.metric, self.reduce, self.during, self.transform, self.minus)

    @property
    def quantity(self) -> str:
        """The reading in words."""
        how = "" if self.reduce == "last" else f"{self.reduce} of "
        less = f" − {self.minus}" if self.minus else ""
        when = self.during if isinstance(self.during, str) else f"{self.during[0]:.0%}-{self.during[1]:.0%}"
        where = "" if tuple(self.during) == WHOLE else f" ({when})"
        measure = f"{how}{self.metric}{less}{where}"
        return f"log {measure}" if self.transform == "log" else measure

    def read(self, table: RunTable, runs: dict[int, str]) -> dict[int, float]:
        return {seed: self.reading.of(table, self.experiment, run) for seed, run in runs.items()}

    def gap(self, table: RunTable, higher: Arm, lower: Arm) -> tuple[Sample, tuple[str, ...]]:
        """Reading of `higher` minus that of `lower` over the seeds that both have, and the runs used."""
        runs = table.runs(self.experiment, higher), table.runs(self.experiment, lower)
        return self.gap_of_runs(table, *runs)

    def gap_of_runs(
        self, table: RunTable, higher: dict[int, str], lower: dict[int, str]
    ) -> tuple[Sample, tuple[str, ...]]:
        seeds = sorted(higher.keys() & lower.keys())
        if not seeds:
            raise NotMeasured(f"the arms of {self.experiment} have no finished seed in common")
        high, low = ({seed: runs[seed] for seed in seeds} for runs in (higher, lower))
        sample = Sample.paired(list(self.read(table, high).values()), list(self.read(table, low).values()))
        return sample, (*high.values(), *low.values())

    def below(self, table: RunTable, low: Arm, high: Arm) -> Difference:
        sample, runs = self.gap(table, higher=high, lower=low)
        label = f"{self.quantity} is lower with {name_of(low)} than with {name_of(high)}"
        return Difference(label, sample, self.margin, runs)


@dataclass(frozen=True, kw_only=True)
class Lower(Predicate):
    """The reading is lower in `better` than in `worse`, paired by seed."""

    better: Arm
    worse: Arm

    def measure(self, table: RunTable) -> list[Contrast]:
        return [self.below(table, self.better, self.worse)]


@dataclass(frozen=True, kw_only=True)
class LowestOf(Predicate):
    """The reading of `arm` is lower than that of every other."""

    arm: Arm
    others: list[Arm]

    def measure(self, table: RunTable) -> list[Contrast]:
        return [self.below(table, self.arm, other) for other in self.others]


@dataclass(frozen=True, kw_only=True)
class HighestOf(Predicate):
    """The reading of `arm` is higher than that of every other."""

    arm: Arm
    others: list[Arm]

    def measure(self, table: RunTable) -> list[Contrast]:
        return [self.below(table, other, self.arm) for other in self.others]


@dataclass(frozen=True, kw_only=True)
class Equal(Predicate):
    """The readings of two arms differ by less than the margin."""

    one: Arm
    other: Arm
    margin: float = field()

    def measure(self, table: RunTable) -> list[Contrast]:
        sample, runs = self.gap(table, higher=self.one, lower=self.other)
        label = f"{self.quantity} is the same with {name_of(self.one)} and {name_of(self.other)}"
        return [Equality(label, sample, self.margin, runs)]


@dataclass(frozen=True, kw_only=True)
class GreaterThan(Predicate):
    """The reading of an arm is above a constant, given in the reading's unit before any transform."""

    arm: Arm
    constant: float
    sign: ClassVar[int] = 1
    relation: ClassVar[str] = "above"

    def measure(self, table: RunTable) -> list[Contrast]:
        runs = table.runs(self.experiment, self.arm)
        bound = np.log(self.constant) if self.transform == "log" else self.constant
        values = np.array(list(self.read(table, runs).values()))
        label = f"{self.quantity} is {self.relation} {bound:.4g} with {name_of(self.arm)}"
        return [Difference(label, Sample.of(self.sign * (values - bound)), self.margin, tuple(runs.values()))]


@dataclass(frozen=True, kw_only=True)
class LessThan(GreaterThan):
    """The reading of an arm is below a constant, given in the reading's unit before any transform."""

    sign: ClassVar[int] = -1
    relation: ClassVar[str] = "below"


@dataclass(frozen=True, kw_only=True)
class LowerAtBestLr(Predicate):
    """The reading is lower in `better` than in `worse`, each arm at the learning rate that is best for it.

    Best is the lowest final value of the metric, averaged over seeds, among the rates that were run with as
    many seeds as any. Choosing by the same seeds flatters both arms alike, so that equal arms stay equal.
    """

    better: Arm
    worse: Arm
    factor: str = "optim.lr"

    def measure(self, table: RunTable) -> list[Contrast]:
        (low_rate, low, low_note), (high_rate, high, high_note) = (
            self.at_best(table, arm) for arm in (self.better, self.worse)
        )
        sample, runs = self.gap_of_runs(table, higher=high, lower=low)
        label = (
            f"{self.quantity} is lower with {name_of(self.better)} at {self.factor}={low_rate:g} than with "
            f"{name_of(self.worse)} at {high_rate:g}"
        )
        return [Difference(label, sample, self.margin, runs, note=low_note + high_note)]

    def at_best(self, table: RunTable, arm: Arm) -> tuple[float, dict[int, str], str]:
        """The arm's best rate, its runs there by seed, and a warning where that is the grid's edge."""
        by_rate = {
            rate: table.runs(self.experiment, {**arm, self.factor: rate})
            for rate in table.levels(self.experiment, arm, self.factor)
        }
        most = max(len(runs) for runs in by_rate.values())
        final = Reading(self.metric)
        mean = {
            rate: np.mean([final.of(table, self.experiment, run) for run in runs.values()])
            for rate, runs in by_rate.items()
            if len(runs) == most
        }
        best = min(mean, key=lambda rate: mean[rate])
        at_edge = best in (min(mean), max(mean))
        note = f" The best {self.factor} of {name_of(arm)} lies on the edge of its grid." if at_edge else ""
        return best, by_rate[best], note


@dataclass(frozen=True, kw_only=True)
class LessSensitive(Predicate):
    """The final loss of `better` depends less on the learning rate than that of `worse`.

    Sensitivity as in arXiv 2309.14322, per seed, over the rates that both arms were run at. The grid should
    be evenly spaced in the logarithm.
    """

    better: Arm
    worse: Arm
    factor: str = "optim.lr"

    def measure(self, table: RunTable) -> list[Contrast]:
        rates = sorted(
            set(table.levels(self.experiment, self.better, self.factor))
            & set(table.levels(self.experiment, self.worse, self.factor))
        )
        if len(rates) < 2:
            raise NotMeasured(f"the arms of {self.experiment} share fewer than two values of {self.factor}")
        grids = [
            [table.runs(self.experiment, {**arm, self.factor: rate}) for rate in rates]
            for arm in (self.worse, self.better)
        ]
        seeds = sorted(set.intersection(*(set(runs) for grid in grids for runs in grid)))
        if not seeds:
            raise NotMeasured(f"no seed of {self.experiment} was run at every {self.factor} of both arms")
        worse, better = ([self.sensitivity(table, grid, seed) for seed in seeds] for grid in grids)
        label = (
            f"the sensitivity of {self.metric} to {self.factor} ({rates[0]:g} to {rates[-1]:g}) is lower "
            f"with {name_of(self.better)} than with {name_of(self.worse)}"
        )
        runs = tuple(runs[seed] for grid in grids for runs in grid for seed in seeds)
        return [Difference(label, Sample.paired(worse, better), self.margin, runs)]

    def sensitivity(self, table: RunTable, grid: list[dict[int, str]], seed: int) -> float:
        runs = [at_rate[seed] for at_rate in grid]
        losses = [self.reading.of(table, self.experiment, run) for run in runs]
        return learning_rate_sensitivity(losses, table.initial_loss(self.experiment, runs[0]))


@dataclass(frozen=True, kw_only=True)
class SlopeWith(Predicate):
    """Over the values of a numeric factor the reading rises by `slope`, up to the margin, per seed.

    arm: may be left out where nothing but the factor varies.
    """

    arm: Arm = field(default_factory=dict)
    factor: str
    slope: float
    margin: float = field()

    def measure(self, table: RunTable) -> list[Contrast]:
        levels = table.levels(self.experiment, self.arm, self.factor)
        if len(levels) < 2:
            raise NotMeasured(f"{self.experiment} has fewer than two values of {self.factor}")
        runs = [table.runs(self.experiment, {**self.arm, self.factor: level}) for level in levels]
        seeds = sorted(set.intersection(*(set(r) for r in runs)))
        if not seeds:
            raise NotMeasured(f"no seed of {self.experiment} was run at every {self.factor}")
        slopes = [slope(levels, [self.reading.of(table, self.experiment, r[seed]) for r in runs]) for seed in seeds]
        label = f"{self.quantity} rises by {self.slope:g} per unit of {self.factor}"
        used = tuple(r[seed] for r in runs for seed in seeds)
        return [Equality(label, Sample.of(np.array(slopes) - self.slope), self.margin, used)]


@dataclass(frozen=True, kw_only=True)
class FlatterLate(HighestOf):
    """Late in training the metric of `arm` falls less than that of every other: it has stalled.

    The effect is the difference of the falls along fitted lines, in the metric's unit over the whole
    stretch, and so does not depend on the number of steps.
    """

    reduce: Reduction = field(default="change", init=False)
    during: During = (0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class DivergesOverTime(Predicate):
    """On average up to the fraction `until` of training two arms are equal; at its end `better` is lower."""

    better: Arm
    worse: Arm
    until: float
    margin: float = field()
    reduce: Reduction = field(default="last", init=False)
    during: During = field(default=WHOLE, init=False)

    def measure(self, table: RunTable) -> list[Contrast]:
        shared = {key: getattr(self, key) for key in ("experiment", "metric", "margin", "transform", "minus")}
        early = Equal(one=self.better, other=self.worse, reduce="mean", during=(0.0, self.until), **shared)
        late = Lower(better=self.better, worse=self.worse, **shared)
        return [*early.measure(table), *late.measure(table)]


@dataclass(frozen=True, kw_only=True)
class TrendWithDepth(Predicate):
    """A per-layer diagnostic rises or falls with depth.

    The effect is the change along a fitted line from the first layer to the last, one fit per seed. The
    metric names the layer by {i}.
    """

    arm: Arm
    direction: Literal["rises", "falls"]

    def measure(self, table: RunTable) -> list[Contrast]:
        runs = table.runs(self.experiment, self.arm)
        sign = 1 if self.direction == "rises" else -1
        changes = [sign * self.change(table, run) for run in runs.values()]
        label = f"{self.quantity} {self.direction} from the first layer to the last with {name_of(self.arm)}"
        return [Difference(label, Sample.of(changes), self.margin, tuple(runs.values()))]

    def change(self, table: RunTable, run: str) -> float:
        layers = self.reading.by_layer(table, self.experiment, run)
        if len(layers) < 2:
            raise NotMeasured(f"run {run} of {self.experiment} has one layer of {self.metric}, too few for a trend")
        return slope(np.linspace(0, 1, len(layers)), layers)
