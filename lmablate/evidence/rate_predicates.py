"""The kinds of claim about arms that were trained at several learning rates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lmablate.errors import UserError, counted
from lmablate.evidence.contrasts import Contrast, Difference, Equality
from lmablate.evidence.predicates import Lower, Predicate
from lmablate.evidence.readings import Reading
from lmablate.evidence.stats import learning_rate_sensitivity
from lmablate.evidence.tables import Levels, NotMeasured, RunTable, name_of


@dataclass(frozen=True)
class _ArmAtBestRate:
    """An arm at the rate that is best for it.

    Attributes:
        name: the arm with its rate, in words.
        runs: its runs at that rate, by seed, without those that chose it.
        choices: among how many rates it was chosen by the runs themselves; 1 if other seeds chose it.
        note: a warning if the rate lies on the edge of the grid; empty otherwise.
    """

    name: str
    runs: dict[int, str]
    choices: int
    note: str


def _arm_at_best_rate(
    table: RunTable, experiment: str, metric: str, arm: Levels, factor: str, pilot_seeds: list[int]
) -> _ArmAtBestRate:
    """Return an arm at the rate with the lowest final value of a metric, averaged over seeds.

    Only the rates with the most seeds take part. Of a loss a diverged run counts as one that learnt nothing.

    Args:
        table: the runs.
        experiment: the experiment that has the arm.
        metric: the metric, of which less is better.
        arm: the arm.
        factor: the factor whose values are the rates.
        pilot_seeds: the seeds that choose the rate; empty if all do.

    Raises:
        NotMeasured: if the arm has no run, or none of a seed that should choose.
    """
    by_rate = {rate: table.runs(experiment, {**arm, factor: rate}) for rate in table.levels(experiment, arm, factor)}
    choosing = {rate: _of_seeds(runs, pilot_seeds) for rate, runs in by_rate.items()} if pilot_seeds else by_rate
    most = max(len(runs) for runs in choosing.values())
    if not most:
        raise NotMeasured(f"{experiment} has no finished run with {name_of(arm)} of a pilot seed")
    final = Reading(metric)
    mean = {
        rate: float(np.nan_to_num(np.mean([final.of(table, experiment, run) for run in runs.values()]), nan=np.inf))
        for rate, runs in choosing.items()
        if len(runs) == most
    }
    best = min(mean, key=lambda rate: mean[rate])
    at_edge = best in (min(mean), max(mean))
    return _ArmAtBestRate(
        f"{name_of(arm)} at {factor}={best:g}",
        {seed: run for seed, run in by_rate[best].items() if seed not in pilot_seeds},
        1 if pilot_seeds else len(mean),
        f" The best {factor} of {name_of(arm)} lies on the edge of its grid." if at_edge else "",
    )


def _of_seeds(runs: Mapping[int, str], seeds: list[int]) -> dict[int, str]:
    return {seed: run for seed, run in runs.items() if seed in seeds}


@dataclass(frozen=True, kw_only=True)
class LowerAtBestLr(Lower):
    """The reading is lower in one arm than in another, each arm at the learning rate that is best for it.

    The best rate is the one with the lowest final value of the metric, averaged over seeds. With `pilot_seeds`, these
    seeds choose it and the others are compared, so that the choice flatters no arm. Without, it flatters the arm
    whose losses depend less on the rate: it has more rates that may be lowest by luck. Each side's p-value is then
    multiplied by the number of its rates.

    Attributes:
        factor: the factor whose values are the learning rates.
        pilot_seeds: the seeds that choose the rates; if there are none, all choose.
    """

    factor: str = "optim.lr"
    pilot_seeds: list[int] = field(default_factory=list)

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference, paired by seed."""
        low, high = (
            _arm_at_best_rate(table, self.experiment, self.metric, arm, self.factor, self.pilot_seeds)
            for arm in (self.better, self.worse)
        )
        label = f"{self.reading.in_words} is lower with {low.name} than with {high.name}"
        options = {"note": low.note + high.note, "choices": (low.choices, high.choices)}
        return [self.gap_of_runs(table, Difference, label, higher=high.runs, lower=low.runs, **options)]


@dataclass(frozen=True, kw_only=True)
class EqualAtBestRate(Predicate):
    """The readings of two arms differ by less than the margin, each arm at the learning rate that is best for it.

    The rates are chosen as in `LowerAtBestLr`.

    Attributes:
        one: an arm.
        other: another arm.
        margin: as in `Predicate`, but it must be given.
        factor: the factor whose values are the learning rates.
        pilot_seeds: the seeds that choose the rates; if there are none, all choose.
    """

    one: Levels
    other: Levels
    margin: float = field()
    factor: str = "optim.lr"
    pilot_seeds: list[int] = field(default_factory=list)

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one equality, paired by seed."""
        one, other = (
            _arm_at_best_rate(table, self.experiment, self.metric, arm, self.factor, self.pilot_seeds)
            for arm in (self.one, self.other)
        )
        label = f"{self.reading.in_words} is the same with {one.name} and {other.name}"
        options = {"note": one.note + other.note, "choices": (other.choices, one.choices)}
        return [self.gap_of_runs(table, Equality, label, higher=one.runs, lower=other.runs, **options)]


@dataclass(frozen=True, kw_only=True)
class LessSensitive(Predicate):
    """The final loss of one arm depends less on the learning rate than that of another.

    The sensitivity is that of arXiv 2309.14322, computed for each seed over the rates at which both arms were run,
    those included at which runs diverged: these count as runs that learnt nothing.
    The grid should be evenly spaced in the logarithm of the rate.

    Attributes:
        better: the arm that is less sensitive.
        worse: the arm that is more sensitive.
        factor: the factor whose values are the learning rates.
    """

    better: Levels
    worse: Levels
    factor: str = "optim.lr"

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference, paired by seed."""
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
        worse, better = ([self._sensitivity(table, grid, seed) for seed in seeds] for grid in grids)
        label = (
            f"the sensitivity of {self.metric} to {self.factor} ({rates[0]:g} to {rates[-1]:g}) is lower "
            f"with {name_of(self.better)} than with {name_of(self.worse)}"
        )
        runs = tuple(runs[seed] for grid in grids for runs in grid for seed in seeds)
        return [self.contrast(Difference, label, np.subtract(worse, better), table, runs)]

    def _sensitivity(self, table: RunTable, grid: list[dict[int, str]], seed: int) -> float:
        runs = [at_rate[seed] for at_rate in grid]
        losses = [self.reading.of(table, self.experiment, run) for run in runs]
        return learning_rate_sensitivity(losses, table.untrained_loss(self.experiment, runs[0]))


@dataclass(frozen=True, kw_only=True)
class TakesHigherLr(Predicate):
    """One arm bears a higher learning rate than another: the highest at which it is nearly as good as at its best.

    The effect is the difference of the two rates in decades. Each is read off a line through the final losses over the
    logarithm of the rate, one per seed, where the line rises through the lowest loss plus `within`. Each arm may have a
    grid of its own: it should reach from below the best rate to one that is clearly too high. An arm that is within
    reach of its best up to the end of its grid bears at least the last rate. That is enough for the better arm; of the
    worse one it would prove nothing, and the claim is not measured.

    Attributes:
        better: the arm that bears the higher rate.
        worse: the other arm.
        within: how much higher than its lowest the final loss may be, in the unit of the metric.
        factor: the factor whose values are the learning rates.
    """

    better: Levels
    worse: Levels
    within: float
    factor: str = "optim.lr"

    def __post_init__(self) -> None:
        if self.within <= 0:
            raise UserError(f"within={self.within:g} is not allowed: it must be above 0.")

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference, paired by seed."""
        high, low = (self._grid(table, arm) for arm in (self.better, self.worse))
        seeds = sorted(set.intersection(*(set(runs) for grid in (high, low) for runs in grid.values())))
        if not seeds:
            raise NotMeasured(f"no seed of {self.experiment} was run at every {self.factor} of both arms")
        highest = [self._highest(table, high, seed) for seed in seeds]
        lower = [self._highest(table, low, seed) for seed in seeds]
        if math.log10(max(low)) in lower:
            raise NotMeasured(
                f"{name_of(self.worse)} is within {self.within:g} of its best up to {self.factor}={max(low):g}, "
                f"the end of its grid in {self.experiment}"
            )
        at_end = highest.count(math.log10(max(high)))
        note = (
            f" With {at_end} of {counted(len(seeds), 'seed')} {name_of(self.better)} is within {self.within:g} of its "
            f"best up to the end of its grid: it may bear more, and the effect be larger."
        )
        label = (
            f"the highest {self.factor} within {self.within:g} of the best {self.metric} is higher "
            f"with {name_of(self.better)} than with {name_of(self.worse)} (decades)"
        )
        runs = tuple(runs[seed] for grid in (high, low) for runs in grid.values() for seed in seeds)
        return [self.contrast(Difference, label, np.subtract(highest, lower), table, runs, note=note if at_end else "")]

    def _grid(self, table: RunTable, arm: Levels) -> dict[float, dict[int, str]]:
        rates = sorted(table.levels(self.experiment, arm, self.factor))
        if len(rates) < 2:
            raise NotMeasured(f"{name_of(arm)} has fewer than two values of {self.factor} in {self.experiment}")
        return {rate: table.runs(self.experiment, {**arm, self.factor: rate}) for rate in rates}

    def _highest(self, table: RunTable, grid: Mapping[float, dict[int, str]], seed: int) -> float:
        """Return the logarithm of the highest rate within reach of the best, for one seed.

        Raises:
            NotMeasured: if the seed diverged at every rate.
        """
        at = np.log10([*grid])
        losses = np.array([self.reading.of(table, self.experiment, runs[seed]) for runs in grid.values()])
        finished = np.array([np.isinf(table.diverged_at(runs[seed])) for runs in grid.values()])
        if not finished.any():
            raise NotMeasured(f"seed {seed} of an arm of {self.experiment} diverged at every {self.factor}")
        bound = losses[finished].min() + self.within
        last = int(np.flatnonzero((losses <= bound) & finished)[-1])
        if last == len(at) - 1:
            return float(at[-1])
        above = losses[last + 1] > bound  # else that rate diverged
        share = (bound - losses[last]) / (losses[last + 1] - losses[last]) if above else 0.0
        return float(at[last] + share * (at[last + 1] - at[last]))
