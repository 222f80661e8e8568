"""The runs that count, which are those that finished or diverged, by experiment, arm and seed."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmablate.errors import UserError
from lmablate.evidence.divergence import LOSSES, untrained_loss
from lmablate.evidence.facts import check_facts, ends_of_counted_runs, training_flops

FactorValue = str | float | int | bool
# The values of factors that single out one arm of an experiment, e.g. {"model/pos": "rope"}.
Levels = dict[str, FactorValue]

# A number as people write it. One with a needless 0 in front is octal to some programs, so it is none here.
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLEANS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}


class NotMeasured(Exception):
    """Runs or metrics that a claim needs are missing; the message is a clause that says which."""


def name_of(arm: Mapping[str, FactorValue]) -> str:
    """Return an arm in words: its factor values as a user would type them."""
    return ", ".join(f"{factor}={_canonical(value)}" for factor, value in arm.items())


def _canonical(value: object) -> str:
    """Return the one spelling of a factor value, however it was written: "true" for True, "0.001" for "1e-3".

    Text that only resembles a number, such as "010", "1_000" or "nan", is a name and stays what it is.
    """
    if isinstance(value, str):
        return f"{float(value):.12g}" if NUMBER.fullmatch(value) else _BOOLEANS.get(value, value)
    return str(value).lower() if isinstance(value, bool | np.bool_) else f"{value:.12g}"


def same_level(one: FactorValue, other: FactorValue) -> bool:
    """Return whether two values of a factor are the same, however they are written."""
    return _canonical(one) == _canonical(other)


def _spelling(value: object) -> str:
    """Return a run's factor value as text: a name as it is, a number in its one spelling."""
    return value if isinstance(value, str) else _canonical(value)


@dataclass(frozen=True)
class Measured:
    """An experiment's measurements, read metric by metric, so that they need not all be in memory.

    Attributes:
        runs: one row per run, with the columns run, seed, and one per factor.
        metrics: names of all metrics.
        rows: returns the rows of a metric, in any order, with the columns run, step, value. If a run that resumed
            logged a step twice, the later row counts.
    """

    runs: pd.DataFrame
    metrics: Collection[str]
    rows: Callable[[str], pd.DataFrame]


@dataclass(frozen=True)
class MetricCurves:
    """One metric of an experiment: the curves of all its runs, end to end.

    Attributes:
        steps: the steps of all curves, ascending within each.
        values: the values at these steps.
        of_run: run id -> the run's slice of `steps` and `values`.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    of_run: Mapping[str, slice]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "MetricCurves":
        """Sort rows by run and step; a step that a run logged twice has the value of its last row.

        Args:
            rows: the rows of one metric, with the columns run, step, value.
        """
        codes, names = pd.factorize(rows["run"])
        steps = rows["step"].to_numpy(dtype=float)
        order = np.lexsort((steps, codes))  # stable: equal steps stay in the order of their rows
        codes, steps = codes[order], steps[order]
        last = np.append((codes[1:] != codes[:-1]) | (steps[1:] != steps[:-1]), np.ones(len(codes[:1]), bool))
        codes, steps = codes[last], steps[last]
        ends = np.searchsorted(codes, np.arange(len(names) + 1)).tolist()
        of_run = {str(name): slice(*bounds) for name, bounds in zip(names, pairwise(ends), strict=True)}
        return cls(steps, rows["value"].to_numpy(dtype=float)[order][last], of_run)


@dataclass(frozen=True)
class CountedRun:
    """A run that finished or diverged.

    Attributes:
        id: the run's id.
        seed: its seed.
        factors: its factor values: names as they are, numbers and booleans in their one spelling.
    """

    id: str
    seed: int
    factors: dict[str, str]


class RunTable:
    """The runs of several experiments that finished or diverged, by experiment, arm and seed.

    Args:
        experiments: name -> the experiment's measurements.
        facts: one row per run and experiment, with the columns of FACT_COLUMNS, and `error` if runs may have diverged.
            A run may belong to several experiments, and then has a row for each.

    Raises:
        UserError: if runs cannot be compared (see `check_facts`), or a run has no row of facts.
    """

    def __init__(self, experiments: Mapping[str, Measured], facts: pd.DataFrame):
        check_facts(facts)
        known = set(facts["run"])
        for measured in experiments.values():
            if unknown := set(measured.runs["run"]) - known:
                raise UserError(f"The table of facts has no row for run {min(unknown)}.")
        self._ends = ends_of_counted_runs(facts)
        self._flops = training_flops(facts)
        self._experiments = experiments
        self._runs = {name: _counted(measured.runs, self._ends) for name, measured in experiments.items()}
        self._uncounted = facts.loc[~facts["run"].isin(self._ends)].groupby(["experiment", "state"]).size()
        self._curves: dict[tuple[str, str], MetricCurves] = {}

    def runs(self, experiment: str, arm: Mapping[str, FactorValue]) -> dict[int, str]:
        """Return the ids of the arm's runs that finished or diverged, by seed.

        Raises:
            UserError: if the arm is so vague that a seed has two runs.
            NotMeasured: if there is no such run.
        """
        by_seed: dict[int, CountedRun] = {}
        for run in self._select(experiment, arm):
            other = by_seed.setdefault(run.seed, run)
            if other is not run:
                differing = [f for f in run.factors if run.factors[f] != other.factors[f]]
                raise UserError(
                    f"The arm {name_of(arm)} of {experiment} has several runs of one seed ({other.id}, "
                    f"{run.id}), so say which: they differ in {', '.join(differing) or 'no known factor'}."
                )
        return {seed: run.id for seed, run in by_seed.items()}

    def runs_by_seed(self, experiment: str, levels: Mapping[str, FactorValue]) -> dict[int, list[str]]:
        """Return the ids of all finished or diverged runs with some levels, by seed; there may be several arms.

        Raises:
            NotMeasured: if there is none.
        """
        found: dict[int, list[str]] = {}
        for run in self._select(experiment, levels):
            found.setdefault(run.seed, []).append(run.id)
        return found

    def levels(self, experiment: str, arm: Mapping[str, FactorValue], factor: str) -> list[float]:
        """Return the values that a numeric factor takes in an arm, in ascending order.

        Raises:
            UserError: if a value is not a number.
            NotMeasured: if there is no run of the arm, or no such factor.
        """
        chosen = self._select(experiment, arm)
        self._require_factor(experiment, factor)
        values = {run.factors[factor] for run in chosen}
        try:
            return sorted(map(float, values))
        except ValueError:
            listed = ", ".join(sorted(values))
            raise UserError(f"{factor} of {experiment} must have numbers as values, not {listed}.") from None

    def _select(self, experiment: str, arm: Mapping[str, FactorValue]) -> list[CountedRun]:
        if not self._runs.get(experiment):
            raise NotMeasured(f"{experiment} has no finished run")
        for factor in arm:
            self._require_factor(experiment, factor)
        wanted = {factor: self._level(experiment, factor, value) for factor, value in arm.items()}
        chosen = [run for run in self._runs[experiment] if wanted.items() <= run.factors.items()]
        if not chosen:
            raise NotMeasured(f"{experiment} has no finished run with {name_of(arm)}")
        return chosen

    def _level(self, experiment: str, factor: str, value: FactorValue) -> str | None:
        """Return the level that `value` means: the one spelled so, else the one that is the same number or boolean."""
        levels = {run.factors[factor] for run in self._runs[experiment]}
        if _spelling(value) in levels:
            return _spelling(value)
        same = [level for level in sorted(levels) if _canonical(level) == _canonical(value)]
        if len(same) > 1:
            raise UserError(f"{factor}={value} of {experiment} may be {' or '.join(same)}: spell it as one of them.")
        return same[0] if same else None

    def _require_factor(self, experiment: str, factor: str) -> None:
        if factor not in self._runs[experiment][0].factors:
            raise NotMeasured(f"{experiment} has no factor {factor}")

    def series(self, experiment: str, run: str, metric: str) -> tuple[NDArray, NDArray]:
        """Return the steps, ascending, and the values of a metric of one run.

        A loss that is not finite is replaced by the untrained loss. A diverged run's series ends before the divergence.

        Raises:
            NotMeasured: if the run did not log the metric.
        """
        if not self.has(experiment, run, metric):
            raise NotMeasured(f"run {run} of {experiment} has no {metric}")
        curves = self._curves_of(experiment, metric)
        place = curves.of_run[run]
        steps, values = curves.steps[place], curves.values[place]
        if metric in LOSSES and not np.isfinite(values).all():
            values = np.where(np.isfinite(values), values, self.untrained_loss(experiment, run))
        return steps, values

    def has(self, experiment: str, run: str, metric: str) -> bool:
        """Return whether a run logged a metric."""
        return metric in self._experiments[experiment].metrics and run in self._curves_of(experiment, metric).of_run

    def all_have(self, experiment: str, metric: str) -> bool:
        """Return whether every finished run of an experiment logged a metric."""
        finished = [run.id for run in self._runs[experiment] if np.isinf(self._ends[run.id])]
        return bool(finished) and all(self.has(experiment, run, metric) for run in finished)

    def _curves_of(self, experiment: str, metric: str) -> MetricCurves:
        """Return the curves of a metric, which are read once and then kept: 16 bytes per row."""
        if (experiment, metric) not in self._curves:
            self._curves[experiment, metric] = MetricCurves.of(self._experiments[experiment].rows(metric))
        return self._curves[experiment, metric]

    def left_out(self, experiments: set[str]) -> dict[str, int]:
        """Return how many runs of these experiments neither finished nor diverged, by state."""
        counts: dict[str, int] = {}
        for (experiment, state), count in self._uncounted.items():
            if experiment in experiments:
                counts[state] = counts.get(state, 0) + count
        return counts

    def diverged_at(self, run: str) -> float:
        """Return the step at which a run diverged; infinite if it finished."""
        return float(self._ends[run])

    def flops(self, run: str) -> float:
        """Return the FLOPs of a run's training.

        Raises:
            NotMeasured: if they are not known.
        """
        if not np.isfinite(flops := self._flops.get(run, np.nan)):
            raise NotMeasured(f"the FLOPs of run {run} are not known")
        return flops

    def untrained_loss(self, experiment: str, run: str) -> float:
        """Return the loss of a model that has learnt nothing (see `divergence`), in nats per token.

        A run that diverged before it logged its first loss has the lowest one of its experiment.

        Raises:
            NotMeasured: if no run of the experiment logged a loss at initialisation.
        """
        known = [run] if self.has(experiment, run, "init/loss") else self._with(experiment, "init/loss")
        if not known:
            raise NotMeasured(f"run {run} of {experiment} has no init/loss, which a run that learnt nothing counts as")
        return min(self._untrained(experiment, each) for each in known)

    def _untrained(self, experiment: str, run: str) -> float:
        initial, *over = (
            float(self.series(experiment, run, metric)[1][0])
            for metric in ("init/loss", "init/loss_over_uniform")
            if self.has(experiment, run, metric)
        )
        return untrained_loss(initial, *over)

    def _with(self, experiment: str, metric: str) -> list[str]:
        """Return the ids of the runs that logged a metric."""
        return [run.id for run in self._runs[experiment] if self.has(experiment, run.id, metric)]

    def steps_planned(self, experiment: str, metric: str, after: float) -> NDArray:
        """Return the steps beyond `after` at which any run of an experiment logged a metric, ascending."""
        runs = self._with(experiment, metric)
        steps = np.unique(np.concatenate([np.zeros(0), *(self.series(experiment, run, metric)[0] for run in runs)]))
        return steps[steps > after]

    def last_step(self, experiment: str, run: str) -> float:
        """Return the last step at which the run logged a loss, or should have if it diverged; 0 if it logged none."""
        runs = [run] if np.isinf(self.diverged_at(run)) else [each.id for each in self._runs[experiment]]
        logged = [(each, metric) for metric in LOSSES for each in runs if self.has(experiment, each, metric)]
        return max((float(self.series(experiment, each, metric)[0][-1]) for each, metric in logged), default=0.0)

    def warmup_end(self, experiment: str, run: str) -> float:
        """Return the step with the highest learning rate, at which a linear warm-up ends and the decay begins.

        For a run that diverged before it ended, it is the last such step of its experiment's other runs.
        """
        if np.isinf(self.diverged_at(run)):
            return self._step_of_highest_rate(experiment, run)
        finished = [each for each in self._with(experiment, "lr") if np.isinf(self.diverged_at(each))]
        own = self._step_of_highest_rate(experiment, run) if self.has(experiment, run, "lr") else np.inf
        ended = own < self.series(experiment, run, "lr")[0][-1] if np.isfinite(own) else False
        ends = [own] if ended else [self._step_of_highest_rate(experiment, each) for each in finished]
        return max(ends, default=np.inf)

    def _step_of_highest_rate(self, experiment: str, run: str) -> float:
        steps, rates = self.series(experiment, run, "lr")
        return float(steps[rates.argmax()])

    def layer_metrics(self, experiment: str, run: str, metric: str) -> list[str]:
        """Return the metrics of all layers, first to last, for a name with {i} in place of the layer.

        A name without {i} stands for itself.

        Raises:
            NotMeasured: if the run logged none of them.
        """
        if "{i}" not in metric:
            return [metric]
        before, after = metric.split("{i}")
        pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        names = sorted(
            (int(match[1]), name)
            for name in self._experiments[experiment].metrics
            if (match := pattern.fullmatch(name))
        )
        found = [name for _, name in names if self.has(experiment, run, name)]
        if not found:
            raise NotMeasured(f"run {run} of {experiment} has no {metric}")
        return found


def _counted(runs: pd.DataFrame, ids: Collection[str]) -> list[CountedRun]:
    """Return the runs of an experiment that count.

    Args:
        runs: one row per run, with the columns run, seed, and one per factor.
        ids: those of all runs that count.
    """
    factors = [column for column in runs.columns if column not in ("run", "seed")]
    rows = runs[["run", "seed", *factors]].itertuples(index=False, name=None)
    return [
        CountedRun(run, int(seed), dict(zip(factors, map(_spelling, values), strict=True)))
        for run, seed, *values in rows
        if run in ids
    ]
