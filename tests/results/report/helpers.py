"""The simulated study of tests.evidence as a folder of exports, with an A/A experiment and arms that start badly."""

from pathlib import Path

import numpy as np

from tests.evidence.study import SEEDS, Study

FACTS = {
    "parameters": 263_168,
    "flops_per_token": 1_966_080,
    "max_steps": 400,
    "warmup_steps": 40,
    "error": None,
}


def simulated(truth: int, pairs: int = 20) -> Study:
    """truth: as in Study. pairs: of the A/A experiment."""
    study = Study(truth)
    for seed in range(pairs):
        for salt in ("a", "b"):
            log = study.add("aa", seed, {"model.init.salt": salt})
            study.validation(log, seed)
            log("grad_norm", np.exp(study.noise(0.05, 400)), range(400))
    return study


def write_exports(study: Study, folder: Path, only: str | None = None, **facts: object) -> Path:
    """Every experiment of `study` as `lmablate.exports` would write it. facts: replace those of FACTS."""
    folder.mkdir(parents=True, exist_ok=True)
    known, rows = study.facts, study.table
    for name, table in rows.groupby("experiment"):
        if only in (None, name):
            table = table.dropna(axis="columns", how="all")
            table.to_parquet(folder / f"{name}.parquet", index=False)
            factors = [c for c in table.columns if c not in ("experiment", "step", "metric", "value")]
            runs = table[factors].drop_duplicates("run").merge(known, on="run").assign(**(FACTS | facts))
            last = table[table["metric"] == "val/loss"].sort_values("step").groupby("run")["value"].last()
            runs["val/loss"] = runs["run"].map(last)
            runs.to_csv(folder / f"{name}.runs.csv", index=False)
    return folder


__all__ = ["SEEDS", "simulated", "write_exports"]
