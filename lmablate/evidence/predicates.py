"""The kinds of claim: each measures, on a table of runs, the contrasts that must all hold.

Those about learning rates are in `rate_predicates`, those about trends in `trend_predicates`. To add a kind, add a
class here. Its fields are the keys that a claim's yaml may use, and its name in the yaml is the class's name in
snake_case.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from lmablate.errors import UserError
from lmablate.evidence.contrasts import Contrast, Difference, Equality
from lmablate.evidence.readings import WHOLE, During, Reading, Share
from lmablate.evidence.samples import (
    UNLIMITED,
    PartialSample,
    RankedSample,
    Sample,
    SkewedSample,
    sample_with_diverged,
)
from lmablate.evidence.tables import Levels, NotMeasured, RunTable, name_of

# The predicates by their name in a claim's yaml.
PREDICATES: dict[str, type["Predicate"]] = {}

Reduction = Literal["first", "last", "mean", "sd", "change", "spikes", "peak_to_median", "peak_step", "rise_step"]


@dataclass(frozen=True, kw_only=True)
class Predicate(ABC):
    """A relation between arms that a claim asserts, and the reading on which it is measured.

    Attributes:
        experiment: the experiment whose runs are compared.
        metric: name of the metric that is read.
        margin: the smallest effect of interest, in the unit of the reading; with `transform` "log", in that of the
            logarithm of a ratio.
        reduce: how the metric's values become one number (see `Reading`).
        during: the stretch of training that is read (see `Reading`).
        transform: applied to the number last (see `Reading`).
        minus: a metric whose value is subtracted (see `Reading`).
        since_start: read the change since the first logged step (see `Reading`).
        name: the predicate's name in a claim's yaml.
    """

    experiment: str
    metric: str
    margin: float = 0.0
    reduce: Reduction = "last"
    during: During = WHOLE
    transform: Literal["identity", "log"] = "identity"
    minus: str | None = None
    since_start: bool = False

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        if not cls.name.startswith("_"):  # else a base of several
            PREDICATES[cls.name] = cls

    @abstractmethod
    def measure(self, table: RunTable) -> list[Contrast]:
        """Return the contrasts that must all hold.

        Raises:
            NotMeasured: if the table lacks runs or metrics that they need.
        """

    @property
    def arms(self) -> list[Levels]:
        """The arms that it names: the values of its fields that are levels of factors, or lists of such."""
        values = [getattr(self, each.name) for each in fields(self)]
        return [arm for value in values for arm in (value if isinstance(value, list) else [value])
                if isinstance(arm, dict)]  # fmt: skip

    @property
    def reading(self) -> Reading:
        """The reading that gives one number per run."""
        return Reading(self.metric, self.reduce, self.during, self.transform, self.minus, self.since_start)

    def read(self, table: RunTable, runs: dict[int, str]) -> dict[int, float]:
        """Return the reading of each run, by seed."""
        return {seed: self.reading.of(table, self.experiment, run) for seed, run in runs.items()}

    def contrast(
        self,
        kind: type[Contrast],
        label: str,
        effects: ArrayLike,
        table: RunTable,
        runs: Sequence[str],
        sample: type[Sample] = Sample,
        limits: tuple[float, float] = UNLIMITED,
        **options: Any,
    ) -> Contrast:
        """Return a contrast over seeds, of which runs may have diverged.

        Args:
            kind: a difference or an equality.
            label: the claimed relation in words.
            effects: one per seed: infinite for a worst rank, NaN for one that is missing.
            table: all runs.
            runs: ids of those that the effects were measured on.
            sample: the kind of sample that the effects are if no run diverged.
            limits: the smallest and the largest effect that is possible.
            options: further attributes of the contrast.

        Raises:
            NotMeasured: if all effects are missing.
        """
        cut = sum(self.reading.is_cut(table, self.experiment, run) for run in runs)
        if np.isnan(effects).all():
            raise NotMeasured(f"a run of every seed of {self.experiment} diverged before {self.metric} was read")
        values = sample_with_diverged(effects, limits, sample) if cut else sample.of(effects, limits)
        diverged = sum(table.diverged_at(run) < np.inf for run in runs)
        note = options.pop("note", "") + _note_on_diverged(diverged, len(runs), values)
        return kind(label, values, self.margin, tuple(runs), note, diverged, **options)

    def gap(self, table: RunTable, kind: type[Contrast], label: str, higher: Levels, lower: Levels) -> Contrast:
        """Return a contrast of the reading of `higher` minus that of `lower`, for the seeds that both have."""
        runs = table.runs(self.experiment, higher), table.runs(self.experiment, lower)
        return self.gap_of_runs(table, kind, label, *runs)

    def gap_of_runs(
        self,
        table: RunTable,
        kind: type[Contrast],
        label: str,
        higher: dict[int, str],
        lower: dict[int, str],
        **options: Any,
    ) -> Contrast:
        """Return the same as `gap`, for two arms given by their runs; `options` are attributes of the contrast.

        Raises:
            NotMeasured: if the arms have no seed in common.
        """
        high, low = self.in_pairs(higher, lower)
        least, most = self.reading.limits
        a, b = (np.array([*self.read(table, runs).values()]) for runs in (high, low))
        alike = np.isinf(a) & (a == b)  # both diverged: neither is worse
        effects = np.subtract(a, b, out=np.zeros(a.size), where=~alike)
        runs = (*high.values(), *low.values())
        return self.contrast(kind, label, effects, table, runs, limits=(least - most, most - least), **options)

    def in_pairs(self, *arms: dict[int, str]) -> list[dict[int, str]]:
        """Return the runs of each arm for the seeds that all have, in the order of the seeds.

        Raises:
            NotMeasured: if the arms have no seed in common.
        """
        seeds = sorted(set[int].intersection(*map(set, arms)))
        if not seeds:
            raise NotMeasured(f"the arms of {self.experiment} have no finished seed in common")
        return [{seed: runs[seed] for seed in seeds} for runs in arms]

    def below(self, table: RunTable, low: Levels, high: Levels) -> Contrast:
        """Return the contrast "the reading is lower with `low` than with `high`"."""
        label = f"{self.reading.in_words} is lower with {name_of(low)} than with {name_of(high)}"
        return self.gap(table, Difference, label, higher=high, lower=low)


def _note_on_diverged(diverged: int, runs: int, sample: Sample) -> str:
    """Return a sentence about the runs of a contrast that diverged, and what they count as; empty if none did."""
    if not diverged:
        return ""
    how = "after what is read here"
    if isinstance(sample, RankedSample):
        how = "and count as runs that learnt nothing: the p-value is that of signed ranks, and no mean is claimed"
    elif isinstance(sample, PartialSample):
        how = "before what is read here: it is judged as in the worst case"
    return f" {diverged} of {runs} runs diverged, {how}."


@dataclass(frozen=True, kw_only=True)
class Lower(Predicate):
    """The reading is lower in one arm than in another, paired by seed.

    Attributes:
        better: the arm with the lower reading.
        worse: the arm with the higher reading.
    """

    better: Levels
    worse: Levels

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference."""
        return [self.below(table, self.better, self.worse)]


@dataclass(frozen=True, kw_only=True)
class LowestOf(Predicate):
    """The reading of one arm is lower than that of every other.

    Attributes:
        arm: the arm with the lowest reading.
        others: the arms that it is compared with.
    """

    arm: Levels
    others: list[Levels]

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference per other arm."""
        return [self.below(table, self.arm, other) for other in self.others]


@dataclass(frozen=True, kw_only=True)
class HighestOf(Predicate):
    """The reading of one arm is higher than that of every other.

    Attributes:
        arm: the arm with the highest reading.
        others: the arms that it is compared with.
    """

    arm: Levels
    others: list[Levels]

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference per other arm."""
        return [self.below(table, other, self.arm) for other in self.others]


@dataclass(frozen=True, kw_only=True)
class Equal(Predicate):
    """The readings of two arms differ by less than the margin.

    Attributes:
        one: an arm.
        other: another arm.
        margin: as in `Predicate`, but it must be given.
    """

    one: Levels
    other: Levels
    margin: float = field()

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one equality."""
        label = f"{self.reading.in_words} is the same with {name_of(self.one)} and {name_of(self.other)}"
        return [self.gap(table, Equality, label, higher=self.one, lower=self.other)]


@dataclass(frozen=True, kw_only=True)
class GreaterThan(Predicate):
    """The reading of an arm is above a constant.

    Attributes:
        arm: the arm.
        constant: the constant, in the unit that the reading has before any transform.
    """

    arm: Levels
    constant: float
    _sign: ClassVar[int] = 1
    _relation: ClassVar[str] = "above"

    def __post_init__(self) -> None:
        if self.transform == "log" and self.constant <= 0:
            raise UserError(f"constant={self.constant:g} is not allowed: with transform=log it must be above 0.")

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference: that of the arm from the constant, unpaired."""
        runs = table.runs(self.experiment, self.arm)
        bound = np.log(self.constant) if self.transform == "log" else self.constant
        values = np.array(list(self.read(table, runs).values()))
        label = f"{self.reading.in_words} is {self._relation} {bound:.4g} with {name_of(self.arm)}"
        effects, ends = (self._sign * (numbers - bound) for numbers in (values, np.array(self.reading.limits)))
        limits = (float(ends.min()), float(ends.max()))
        return [self.contrast(Difference, label, effects, table, [*runs.values()], SkewedSample, limits)]


@dataclass(frozen=True, kw_only=True)
class LessThan(GreaterThan):
    """The reading of an arm is below a constant; the attributes are those of `GreaterThan`."""

    _sign: ClassVar[int] = -1
    _relation: ClassVar[str] = "below"


@dataclass(frozen=True, kw_only=True)
class FlatterLate(HighestOf):
    """Late in training the metric of one arm falls less than that of every other: it has stalled.

    The effect is the difference of the falls along fitted lines. It is in the metric's unit, over the whole stretch,
    so it does not depend on the number of steps. The arms are the attributes of `HighestOf`.
    """

    reduce: Reduction = field(default="change", init=False)
    during: During = (0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class DivergesOverTime(Lower):
    """Two arms are equal on average over an early part of training, and one of them is lower at its end.

    Attributes:
        until: the end of the early part, as a fraction of training.
        margin: as in `Predicate`, for both the equality and the difference; it must be given.
    """

    until: Share
    margin: float = field()
    reduce: Reduction = field(default="last", init=False)
    during: During = field(default=WHOLE, init=False)

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return the early equality, and the difference at the end."""
        early = Equal(
            one=self.better,
            other=self.worse,
            experiment=self.experiment,
            metric=self.metric,
            margin=self.margin,
            reduce="mean",
            during=(0.0, self.until),
            transform=self.transform,
            minus=self.minus,
        )
        return [*early.measure(table), self.below(table, self.better, self.worse)]
