"""The tidy table of measurements, read run by run, and the refusal of what cannot be compared."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

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
    return ", ".join(f"{factor}={canonical(value)}" for factor, value in arm.items())


def canonical(value: object) -> str:
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
    require_columns(facts, FACT_COLUMNS, "facts")
    done = facts.loc[facts["state"] == "done"]
    for column, what in (("data_fingerprint", "data fingerprints"), ("code_version", "code versions")):
        refuse_mixture(done, column, f"The table mixes {what}")
    for experiment, runs in done.groupby("experiment"):
        refuse_mixture(runs, "tokens", f"Experiment {experiment} mixes unequal budgets of tokens")


def require_columns(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UserError(f"The table of {what} has no column {missing[0]}: it needs {', '.join(columns)}.")


def refuse_mixture(runs: pd.DataFrame, column: str, complaint: str) -> None:
    examples = runs.drop_duplicates(column)
    if len(examples) > 1:
        each = ", ".join(f"{row[column]} (run {row['run']})" for _, row in examples.head(3).iterrows())
        raise UserError(f"{complaint}, so its runs cannot be compared: {each}.")


@dataclass(frozen=True)
class Run:
    """A finished run: its id, its seed, and its factor values in canonical spelling."""

    id: str
    seed: int
    factors: dict[str, str]


class RunTable:
    """The finished runs of a measurement table, by experiment, arm and seed.

    measurements: columns experiment, run, seed, step, metric, value, and one per factor. A run may belong to
    several experiments, and is then listed once for each. Where a run that resumed logged a step twice, the
    last value counts.
    """

    def __init__(self, measurements: pd.DataFrame, facts: pd.DataFrame):
        require_columns(measurements, MEASUREMENT_COLUMNS, "measurements")
        check_facts(facts)
        known, measured = set(facts["run"]), set(measurements["run"])
        if measured - known:
            raise UserError(f"The table of facts has no row for run {min(measured - known)}.")
        done = measurements["run"].isin(facts.loc[facts["state"] == "done", "run"])
        once = measurements.loc[done].drop_duplicates(["experiment", "run", "metric", "step"], keep="last")
        self._measurements = once.sort_values("step", kind="stable", ignore_index=True)
        self._steps = self._measurements["step"].to_numpy(dtype=float)
        self._values = self._measurements["value"].to_numpy(dtype=float)
        self._unfinished = facts.loc[facts["state"] != "done"].groupby(["experiment", "state"]).size()
        self._factors = [c for c in measurements.columns if c not in MEASUREMENT_COLUMNS]

    @cached_property
    def _runs(self) -> dict[str, list[Run]]:
        columns = ["experiment", "run", "seed", *self._factors]
        runs: dict[str, list[Run]] = {}
        rows = self._measurements[columns].drop_duplicates(["experiment", "run"])
        for experiment, run, seed, *values in rows.itertuples(index=False, name=None):
            factors = dict(zip(self._factors, map(canonical, values), strict=True))
            runs.setdefault(experiment, []).append(Run(run, int(seed), factors))
        return runs

    @cached_property
    def _series(self) -> dict[tuple[str, str, str], NDArray[np.intp]]:
        return self._measurements.groupby(["experiment", "run", "metric"], sort=False).indices  # pyright: ignore

    @cached_property
    def _metrics(self) -> dict[tuple[str, str], list[str]]:
        metrics: dict[tuple[str, str], list[str]] = {}
        for experiment, run, metric in self._series:
            metrics.setdefault((experiment, run), []).append(metric)
        return metrics

    def runs(self, experiment: str, arm: Mapping[str, Scalar]) -> dict[int, str]:
        """The arm's finished runs by seed; raises UserError where the arm is so vague that a seed has two."""
        by_seed: dict[int, Run] = {}
        for run in self._select(experiment, arm):
            other = by_seed.setdefault(run.seed, run)
            if other is not run:
                differing = [f for f in self._factors if run.factors[f] != other.factors[f]]
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
        if experiment not in self._runs:
            raise NotMeasured(f"{experiment} has no finished run")
        for factor in arm:
            self._require_factor(experiment, factor)
        wanted = {factor: canonical(value) for factor, value in arm.items()}
        chosen = [run for run in self._runs[experiment] if wanted.items() <= run.factors.items()]
        if not chosen:
            raise NotMeasured(f"{experiment} has no finished run with {name_of(arm)}")
        return chosen

    def _require_factor(self, experiment: str, factor: str) -> None:
        if factor not in self._factors:
            raise NotMeasured(f"{experiment} has no factor {factor}")

    def series(self, experiment: str, run: str, metric: str) -> tuple[NDArray, NDArray]:
        """Steps, ascending, and values of a metric.

        A loss that is not finite is replaced by the loss at initialisation: a diverged run has learnt
        nothing, and leaving it out would favour the arm that diverges (the cap of arXiv 2309.14322).
        """
        rows = self._series.get((experiment, run, metric))
        if rows is None:
            raise NotMeasured(f"run {run} of {experiment} has no {metric}")
        values = self._values[rows]
        if metric in LOSSES and not np.isfinite(values).all():
            values = np.where(np.isfinite(values), values, self.initial_loss(experiment, run))
        return self._steps[rows], values

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
        """The last step at which the run logged anything."""
        metrics = self._metrics[experiment, run]
        return float(max(self._steps[self._series[experiment, run, metric][-1]] for metric in metrics))

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
        found = [m for name in self._metrics[experiment, run] if (m := pattern.fullmatch(name))]
        if not found:
            raise NotMeasured(f"run {run} of {experiment} has no {metric}")
        return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]
