"""`python -m lmablate.lr_sweep`, from end to end."""

import re
from pathlib import Path

import pytest

from lmablate.runs.run import all_runs
from tests.tiny import command, overrides


@pytest.mark.slow
def test_a_tiny_search_extends_its_grid_until_the_best_rate_lies_inside_and_is_cheap_to_repeat(tmp_path: Path) -> None:
    search = [*overrides(tmp_path), "hydra/launcher=basic", "scale.lrs='1e-6,1.0,30.0'"]
    done = command(search, "lmablate.lr_sweep")
    assert done.returncode == 0, done.stderr
    best = re.search(r"^the model: best optim.lr=(\S+), val/loss (\S+)$", done.stdout, re.MULTILINE)
    assert best, done.stdout
    runs = all_runs(tmp_path / "runs")
    rates = [run.facts()["identity"]["config"]["optim"]["lr"] for run in runs]
    assert min(rates) < float(best[1]) < max(rates)
    assert all((run.folder / "experiments" / "adhoc_lr").exists() for run in runs)
    written = {run.id: run.metrics_path.stat().st_mtime_ns for run in runs if run.status()["state"] == "done"}
    again = command([*search, "+lr_sweep=true"])
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    assert {id: (tmp_path / "runs" / id / "metrics.jsonl").stat().st_mtime_ns for id in written} == written
