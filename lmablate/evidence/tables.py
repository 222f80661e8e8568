"""Measurements read run by run, and the refusal of what cannot be compared."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmablate.errors import UserError

Scalar = str | float | int | bool
Arm = dict[str, Scalar]
"""The factor values that single out one arm of an experiment, e.g. {"model/pos": "rope"}."""

MEASUREMENT_COLUMNS = ("experiment", "run", "seed", "step", "metric", "value")
FACT_COLUMNS = ("run", "experiment", "data_fingerprint", "code_version", "tokens", "state")
LOSSES = ("train/loss", "val/loss")


class NotMeasured(Exception):
    """Runs or metrics that a claim needs are absent; the message is a clause that says which."""


def name_of(arm: Mapping[str, Scalar]) -> str:
    """An arm in words: its factor values as one would type them."""
    return ", ".join(f"{factor}={_canonical(value)}" for factor, value in arm.items())


def _canonical(value: object) -> str:
    """One spelling per factor value, whoever wrote it: "true" for True, "0.001" for "1e-3"."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    text = str(value)
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text


def check_facts(facts: pd.DataFrame) -> None:
    """Refuse finished runs that cannot be compared: other data, other training code, or another budget.

    facts: one row per run with the columns of FACT_COLUMNS. Data and code must be the same in the whole
    table, the number of tokens within an experiment. Only runs in state "done" count.
    """
    _require_columns(facts, FACT_COLUMNS, "facts")
    done = facts.loc[facts["state"] == "done"]
    for column, what in (("data_fingerprint", "data fingerprints"), ("code_version", "code versions")):
        _refuse_mixture(done, column, f"The table mixes {what}")
    for experiment, runs in done.groupby("experiment"):
        _refuse_mixture(runs, "tokens", f"Experiment {experiment} mixes unequal budgets of tokens")


def _require_columns(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UserError(f"The table of {what} has no column {missing[0]}: it needs {', '.join(columns)}.")


def _refuse_mixture(runs: pd.DataFrame, column: str, complaint: str) -> None:
    examples = runs.drop_duplicates(column)
    if len(examples) > 1:
        each = ", ".join(f"{row[column]} (run {row['run']})" for _, row in examples.head(3).iterrows())
        raise UserError(f"{complaint}, so its runs cannot be compared: {each}.")


@dataclass(frozen=True)
class Measured:
    """An experiment's measurements, read metric by metric, so that they need not all be in memory.

    runs: columns run, seed, and one per factor. rows: metric -> columns run, step, value, in any order; where a
    run that resumed logged a step twice, the later row counts.
    """

    runs: pd.DataFrame
    metrics: Collection[str]
    rows: Callable[[str], pd.DataFrame]

    @classmethod
    def split(cls, table: pd.DataFrame) -> "dict[str, Measured]":
        """By experiment; table: columns experiment, run, seed, step, metric, value, and one per factor."""
        _require_columns(table, MEASUREMENT_COLUMNS, "measurements")
        return {str(name): cls.of(rows) for name, rows in table.groupby("experiment", sort=False)}

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Measured":
        runs = table.drop(columns=["experiment", "step", "metric", "value"]).drop_duplicates("run")
        places: Any = table.groupby("metric", sort=False).indices
        columns = table[["run", "step", "value"]]
        return cls(runs, places.keys(), lambda metric: columns.iloc[places[metric]])


@dataclass(frozen=True)
class Curves:
    """One metric of an experiment: the runs' steps and values end to end, and where each run's are."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    of_run: Mapping[str, slice]

    @classmethod
    def sort(cls, rows: pd.DataFrame) -> "Curves":
        """rows: columns run, step, value; steps come out ascending, each once, with the value of its last row."""
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
class Run:
    """A finished run: its id, its seed, and its factor values in canonical spelling."""

    id: str
    seed: int
    factors: dict[str, str]


class RunTable:
    """The finished runs of several experiments, by experiment, arm and seed.

    facts: one row per run with the columns of FACT_COLUMNS. A run may belong to several experiments, and is
    then listed once for each. Raises UserError for runs that cannot be compared.
    """

    def __init__(self, experiments: Mapping[str, Measured], facts: pd.DataFrame):
        check_facts(facts)
        known = set(facts["run"])
        for measured in experiments.values():
            if unknown := set(measured.runs["run"]) - known:
                raise UserError(f"The table of facts has no row for run {min(unknown)}.")
        done = set(facts.loc[facts["state"] == "done", "run"])
        self._experiments = experiments
        self._runs = {name: _finished(measured.runs, done) for name, measured in experiments.items()}
        self._unfinished = facts.loc[facts["state"] != "done"].groupby(["experiment", "state"]).size()
        self._curves: dict[tuple[str, str], Curves] = {}

    @classmethod
    def of(cls, table: pd.DataFrame, facts: pd.DataFrame) -> "RunTable":
        """table: as in `Measured.split`."""
        return cls(Measured.split(table), facts)

    def runs(self, experiment: str, arm: Mapping[str, Scalar]) -> dict[int, str]:
        """The arm's finished runs by seed; raises UserError where the arm is so vague that a seed has two."""
        by_seed: dict[int, Run] = {}
        for run in self._select(experiment, arm):
            other = by_seed.setdefault(run.seed, run)
            if other is not run:
                differing = [f for f in run.factors if run.factors[f] != other.factors[f]]
                raise UserError(
                    f"The arm {name_of(arm)} of {experiment} has several runs of one seed ({other.id}, "
                    f"{run.id}), so say which: they differ in {', '.join(differing) or 'no known factor'}."
                )
        return {seed: run.id for seed, run in by_seed.items()}

    def levels(self, experiment: str, arm: Mapping[str, Scalar], factor: str) -> list[float]:
        """The values that a numeric factor takes in an arm, in ascending order."""
        chosen = self._select(experiment, arm)
        self._require_factor(experiment, factor)
        values = {run.factors[factor] for run in chosen}
        try:
            return sorted(map(float, values))
        except ValueError:
            listed = ", ".join(sorted(values))
            raise UserError(f"{factor} of {experiment} must have numbers as values, not {listed}.") from None

    def _select(self, experiment: str, arm: Mapping[str, Scalar]) -> list[Run]:
        if not self._runs.get(experiment):
            raise NotMeasured(f"{experiment} has no finished run")
        for factor in arm:
            self._require_factor(experiment, factor)
        wanted = {factor: _canonical(value) for factor, value in arm.items()}
        chosen = [run for run in self._runs[experiment] if wanted.items() <= run.factors.items()]
        if not chosen:
            raise NotMeasured(f"{experiment} has no finished run with {name_of(arm)}")
        return chosen

    def _require_factor(self, experiment: str, factor: str) -> None:
        if factor not in self._runs[experiment][0].factors:
            raise NotMeasured(f"{experiment} has no factor {factor}")

    def series(self, experiment: str, run: str, metric: str) -> tuple[NDArray, NDArray]:
        """Steps, ascending, and values of a metric.

        A loss that is not finite is replaced by the loss at initialisation: a diverged run has learnt
        nothing, and leaving it out would favour the arm that diverges (the cap of arXiv 2309.14322).
        """
        if not self.has(experiment, run, metric):
            raise NotMeasured(f"run {run} of {experiment} has no {metric}")
        curves = self.curves(experiment, metric)
        place = curves.of_run[run]
        steps, values = curves.steps[place], curves.values[place]
        if metric in LOSSES and not np.isfinite(values).all():
            values = np.where(np.isfinite(values), values, self.initial_loss(experiment, run))
        return steps, values

    def has(self, experiment: str, run: str, metric: str) -> bool:
        return metric in self._experiments[experiment].metrics and run in self.curves(experiment, metric).of_run

    def curves(self, experiment: str, metric: str) -> Curves:
        """Read once, then kept: 16 bytes a row."""
        if (experiment, metric) not in self._curves:
            self._curves[experiment, metric] = Curves.sort(self._experiments[experiment].rows(metric))
        return self._curves[experiment, metric]

    def left_out(self, experiments: set[str]) -> dict[str, int]:
        """How many runs of these experiments are not finished, by state."""
        counts: dict[str, int] = {}
        for (experiment, state), count in self._unfinished.items():
            if experiment in experiments:
                counts[state] = counts.get(state, 0) + count
        return counts

    def initial_loss(self, experiment: str, run: str) -> float:
        return float(self.series(experiment, run, "init/loss")[1][0])

    def last_step(self, experiment: str, run: str) -> float:
        """The last step at which the run logged a loss; 0 where it logged none."""
        logged = [metric for metric in LOSSES if self.has(experiment, run, metric)]
        return max((float(self.series(experiment, run, metric)[0][-1]) for metric in logged), default=0.0)

    def warmup_end(self, experiment: str, run: str) -> float:
        """The step with the highest learning rate, where a linear warm-up hands over to the decay."""
        steps, rates = self.series(experiment, run, "lr")
        return float(steps[rates.argmax()])

    def layer_metrics(self, experiment: str, run: str, metric: str) -> list[str]:
        """The metrics that a name with {i} for the layer stands for, by depth; a plain name is itself."""
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


def _finished(runs: pd.DataFrame, done: set[str]) -> list[Run]:
    """runs: columns run, seed, and one per factor. done: the ids of the finished ones."""
    factors = [column for column in runs.columns if column not in ("run", "seed")]
    rows = runs[["run", "seed", *factors]].itertuples(index=False, name=None)
    return [
        Run(run, int(seed), dict(zip(factors, map(_canonical, values), strict=True)))
        for run, seed, *values in rows
        if run in done
    ]
