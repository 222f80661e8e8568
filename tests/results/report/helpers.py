"""The simulated study of tests.evidence as a folder of exports, with an A/A experiment."""

from pathlib import Path

import numpy as np
import pandas as pd

from lmablate.results.exports import Exported, Metrics
from lmablate.results.frames import select_columns, select_rows
from tests.evidence.simulated_study import SimulatedStudy

FACTS = {
    "parameters": 263_168,
    "flops_per_token": 1_966_080,
    "max_steps": 400,
    "warmup_steps": 40,
    "error": None,
}


def simulated(truth: int, pairs: int = 20) -> SimulatedStudy:
    """Return a simulated study with an A/A experiment.

    Args:
        truth: as in SimulatedStudy.
        pairs: number of pairs of runs in the A/A experiment.
    """
    study = SimulatedStudy(truth)
    for seed in range(pairs):
        for salt in ("a", "b"):
            log = study.add("aa", seed, {"model.init.salt": salt})
            study.validation(log, seed)
            log("grad_norm", np.exp(study.noise(0.05, 400)), range(400))
    return study


def write_exports(study: SimulatedStudy, folder: Path, only: str | None = None, **facts: object) -> Path:
    """Write every experiment of a study as `lmablate.export` would.

    Args:
        study: the study.
        folder: the folder of the exports.
        only: the only experiment to write.
        facts: replace those of FACTS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known, rows = study.facts, study.table
    for name, table in rows.groupby("experiment"):
        if only in (None, name):
            table = table.dropna(axis="columns", how="all")
            table.to_parquet(folder / f"{name}.parquet", index=False)
            factors = [c for c in table.columns if c not in ("experiment", "step", "metric", "value")]
            runs = (
                select_columns(table, factors).drop_duplicates("run").merge(known, on="run").assign(**(FACTS | facts))
            )
            losses = (
                select_rows(table, table["metric"] == "val/loss")
                .sort_values("step")
                .drop_duplicates("run", keep="last")
            )
            last = dict(zip(losses["run"], losses["value"], strict=True))
            runs["val/loss"] = [last.get(run, np.nan) for run in runs["run"]]
            runs.to_csv(folder / f"{name}.runs.csv", index=False)
    return folder


def as_exported(name: str, table: pd.DataFrame, facts: pd.DataFrame) -> Exported:
    """Return one experiment of a simulated study, without the factors of the other experiments."""
    table = select_rows(table, table["experiment"] == name).dropna(axis="columns", how="all")
    arms = table.drop(columns=["experiment", "step", "metric", "value"]).drop_duplicates()
    return Exported(name, Metrics.from_frame(table), facts.merge(arms, on="run"))
