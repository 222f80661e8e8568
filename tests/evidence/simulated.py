"""Simulated tables of runs: what a real export looks like, with the truth known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

STEPS = np.arange(0, 401)


@dataclass
class Runs:
    """Collects runs; `.table` and `.facts` are what `evaluate` takes."""

    rows: list[dict] = field(default_factory=list)
    fact_rows: list[dict] = field(default_factory=list)

    def add(
        self, experiment: str, seed: int, arm: Mapping[str, object], state: str = "done", **fact: object
    ) -> Callable:
        """A new run; returns a function that logs a series for it: log(metric, values, steps)."""
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
            | fact
        )

        def log(metric: str, values: object, steps: object = None) -> None:
            values = np.atleast_1d(np.asarray(values, dtype=float))
            chosen = STEPS[-len(values) :] if steps is None else np.atleast_1d(np.asarray(steps))
            self.rows.extend(
                {"experiment": experiment, "run": run, "seed": seed, "step": s, "metric": metric, "value": v}
                | dict(arm)
                for s, v in zip(chosen, values, strict=True)
            )

        return log

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    @property
    def facts(self) -> pd.DataFrame:
        return pd.DataFrame(self.fact_rows)
