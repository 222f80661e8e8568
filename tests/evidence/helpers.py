"""Simulated tables of runs: they look like a real export, and the truth is known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lmablate.evidence import Claim, Measured, Predicate, RunTable, Sample, Verdict, judge_claims
from lmablate.evidence.facts import BUDGET_FACTORS

STEPS = np.arange(0, 401)

# Logs a series of a run: log(metric, values, steps). Without steps the values are those of the last of STEPS.
Log = Callable[..., None]


@dataclass
class Runs:
    """Collects runs. `table` holds all measurements in one long table, `facts` one row per run."""

    rows: list[dict] = field(default_factory=list)
    fact_rows: list[dict] = field(default_factory=list)

    def add_diverged(self, experiment: str, seed: int, arm: Mapping[str, object], step: int) -> Log:
        """Add a run that diverged at a step."""
        return self.add(experiment, seed, arm, state="failed", error=f"diverged at step {step}")

    def add(self, experiment: str, seed: int, arm: Mapping[str, object], state: str = "done", **fact: object) -> Log:
        """Add a run, and return the function that logs its series."""
        run = f"r{len(self.fact_rows):04d}"
        self.fact_rows.append(
            {
                "run": run,
                "experiment": experiment,
                "data_fingerprint": "d1",
                "code_version": "c1",
                "tokens": 1000,
                "state": state,
            }
            | {factor: level for factor, level in arm.items() if factor in BUDGET_FACTORS}
            | fact
        )

        def log(metric: str, values: object, steps: object = None) -> None:
            array = np.atleast_1d(np.asarray(values, dtype=float))
            chosen = STEPS[-len(array) :] if steps is None else np.atleast_1d(np.asarray(steps))
            self.rows.extend(
                {"experiment": experiment, "run": run, "seed": seed, "step": s, "metric": metric, "value": v}
                | dict(arm)
                for s, v in zip(chosen, array, strict=True)
            )

        return log

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    @property
    def facts(self) -> pd.DataFrame:
        return pd.DataFrame(self.fact_rows)

    @property
    def run_table(self) -> RunTable:
        return run_table(self.table, self.facts)


def run_table(table: pd.DataFrame, facts: pd.DataFrame) -> RunTable:
    """The RunTable of measurements in memory: columns experiment, run, seed, step, metric, value, and the factors."""
    return RunTable({str(name): _measured(rows) for name, rows in table.groupby("experiment", sort=False)}, facts)


def _measured(table: pd.DataFrame) -> Measured:
    runs = table.drop(columns=["experiment", "step", "metric", "value"]).drop_duplicates("run")
    places: Any = table.groupby("metric", sort=False).indices
    columns = table[["run", "step", "value"]]
    return Measured(runs, places.keys(), lambda metric: columns.iloc[places[metric]])


def sample_with(mean: float, sd: float, n: int) -> Sample:
    """A sample with exactly this mean and standard deviation."""
    noise = np.random.default_rng(n).normal(size=n)
    return Sample.of(mean + sd * (noise - noise.mean()) / noise.std(ddof=1))


def within_binomial_bound(errors: int, trials: int, rate: float) -> bool:
    """False only if this many errors would be a one-in-a-thousand accident at the nominal rate."""
    return bool(stats.binom.sf(errors - 1, trials, rate) > 0.001)


def claim_of(*predicates: Predicate, id: str = "C1") -> Claim:
    return Claim(id, "text", "reported", "question", tuple(predicates))


def verdict_on(predicate: Predicate, runs: Runs | RunTable) -> Verdict:
    """The verdict on a claim of one predicate that is alone in its family."""
    (verdict,) = judge_claims([claim_of(predicate)], runs.run_table if isinstance(runs, Runs) else runs)
    return verdict
