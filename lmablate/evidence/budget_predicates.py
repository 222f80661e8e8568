"""The kinds of claim about arms that were trained with several budgets: speed-ups, and effects over sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lmablate.evidence.budgets import FARTHEST, Ladder, log_speed_up
from lmablate.evidence.contrasts import Contrast, Difference
from lmablate.evidence.predicates import Predicate
from lmablate.evidence.samples import RankedSample, Sample
from lmablate.evidence.tables import Levels, NotMeasured, RunTable, name_of

# The runs of an arm at each value of the factor that sets the budget, in ascending order, by seed.
Budgets = list[dict[int, str]]


@dataclass(frozen=True, kw_only=True)
class _OverBudgets(Predicate):
    """A relation of two arms that both were trained at each value of a factor.

    Attributes:
        better: the arm with the lower reading.
        worse: the arm with the higher one.
        factor: the factor whose values set the budget.
    """

    better: Levels
    worse: Levels
    factor: str

    def runs_of_both(self, table: RunTable, fewest: int) -> tuple[Budgets, Budgets, list[int]]:
        """Return the runs of the better and of the worse arm, and the seeds with which all values were trained.

        Raises:
            NotMeasured: if the arms have fewer than `fewest` values of the factor in common, or no seed.
        """
        levels = sorted(
            set(table.levels(self.experiment, self.better, self.factor))
            & set(table.levels(self.experiment, self.worse, self.factor))
        )
        if len(levels) < fewest:
            raise NotMeasured(f"the arms of {self.experiment} share fewer than {fewest} values of {self.factor}")
        better, worse = (
            [table.runs(self.experiment, {**arm, self.factor: level}) for level in levels]
            for arm in (self.better, self.worse)
        )
        seeds = sorted(set.intersection(*(set(runs) for runs in (*better, *worse))))
        if not seeds:
            raise NotMeasured(f"no seed of {self.experiment} was run at every {self.factor} of both arms")
        return better, worse, seeds

    def curve(self, table: RunTable, budgets: Budgets, seed: int) -> tuple[list[float], list[float]]:
        """Return the FLOPs and the readings of one seed's runs of an arm."""
        runs = [at_budget[seed] for at_budget in budgets]
        return [table.flops(run) for run in runs], [self.reading.of(table, self.experiment, run) for run in runs]


def _all_runs(seeds: Sequence[int], *arms: Budgets) -> tuple[str, ...]:
    return tuple(runs[seed] for budgets in arms for runs in budgets for seed in seeds)


@dataclass(frozen=True, kw_only=True)
class FasterBy(_OverBudgets):
    """One arm reaches the final loss of another with fewer training FLOPs.

    The effect is the logarithm of the ratio of FLOPs (see `log_speed_up`), so `margin` is one, too: 0.1 is a speed-up
    of 1.105. Each run has its own schedule, ended at its own budget: trained for itself, or branched off a longer run
    with `schedule=wsd`. A point on the way of a longer run would be compared at too high a learning rate.

    If even the smallest budget of the better arm suffices, its speed-up is only known to be at least so much. Such
    seeds count as beyond all others, and exact signed ranks judge; then nothing is called equivalent.

    Attributes:
        factor: the factor that sets the length of training.
    """

    factor: str = "train.max_steps"

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference, paired by seed."""
        better, worse, seeds = self.runs_of_both(table, fewest=2)
        effects = np.array(
            [log_speed_up(self.curve(table, better, seed), self.curve(table, worse, seed)) for seed in seeds]
        )
        beyond = int(np.isinf(effects).sum())
        target = f"{self.reading.in_words} of {name_of(self.worse)}"
        label = f"log FLOPs to {target} are fewer with {name_of(self.better)}"
        note = f" For {beyond} of {len(seeds)} seeds the shortest run suffices: there it is a bound." if beyond else ""
        kind, runs = RankedSample if beyond else Sample, _all_runs(seeds, better, worse)
        return [self.contrast(Difference, label, effects, table, runs, kind, note=note)]


@dataclass(frozen=True, kw_only=True)
class EffectWithScale(_OverBudgets):
    """How the lead of one arm over another changes with the size of the model, each size with its own budget.

    A line over log FLOPs is fitted to each seed's leads (see `Ladder`).

        holds     the lead is above 0 at the smallest and at the largest size
        grows     the line rises
        shrinks   the line falls, and the lead at the largest size is still above 0
        flips     the lead is above 0 at the smallest size and below 0 at the largest

    Attributes:
        trend: the claimed change.
        factor: the factor that sets the size and the budget.
    """

    trend: Literal["holds", "grows", "shrinks", "flips"]
    factor: str = "rung"
    margin: float = field(default=0.0)

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return one difference, or two."""
        better, worse, seeds = self.runs_of_both(table, fewest=3)
        ladder = self.ladder(table, better, worse, seeds)
        who = f"the lead of {name_of(self.better)} over {name_of(self.worse)} in {self.reading.in_words}"
        low, high = (f"{flops:.2g}" for flops in (ladder.flops[0], ladder.flops[-1]))
        first = (f"{who} is above 0 at {low} FLOPs", ladder.rung(0), 1, (0,))
        last = (f"{who} is above 0 at {high} FLOPs", ladder.rung(-1), 1, (-1,))
        every, way = range(len(ladder.flops)), f"with each tenfold of FLOPs, from {low} to {high}"
        rise = (f"{who} grows {way}", ladder.slopes, 1, every)
        fall = (f"{who} shrinks {way}", ladder.slopes, -1, every)
        gone = (f"{who} is below 0 at {high} FLOPs", ladder.rung(-1), -1, (-1,))
        claimed = {"holds": (first, last), "grows": (rise,), "shrinks": (fall, last), "flips": (first, gone)}
        farther = ladder.at(10**FARTHEST * ladder.flops[-1])
        note = (
            f" The smaller sizes predict the largest with an error of {_with_interval(ladder.held_out)}. "
            f"With ten times its FLOPs the lines come to a lead of {_with_interval(farther)}."
        )
        return [
            self.contrast(
                Difference, label, sign * np.array(sample.values), table,
                _all_runs(seeds, *([arm[i] for i in rungs] for arm in (better, worse))), note=note,
            )
            for label, sample, sign, rungs in claimed[self.trend]
        ]  # fmt: skip

    def ladder(self, table: RunTable, better: Budgets, worse: Budgets, seeds: Sequence[int]) -> Ladder:
        """Return the leads of all seeds at all sizes."""
        curves = [(self.curve(table, better, seed), self.curve(table, worse, seed)) for seed in seeds]
        leads = [np.subtract(other, one) for (_, one), (_, other) in curves]
        flops = np.exp(np.mean([np.log(costs) for pair in curves for costs, _ in pair], axis=0))
        return Ladder.of(flops.tolist(), leads)


def _with_interval(sample: Sample) -> str:
    low, high = sample.interval()
    return f"{sample.mean:+.4f} ({low:+.4f} to {high:+.4f})"
