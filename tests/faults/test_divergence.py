"""A loss or gradient that is not finite ends the run as failed, and says at which step it happened."""

import json
import math
from pathlib import Path

import pytest

from lmablate.runs.metrics import read_metrics
from lmablate.training.checkpoint import checkpoints
from tests.faults.helpers import last_line
from tests.tiny import configured, finish, the_run

EXPLODES = ["optim.lr=1e30", "optim.warmup_steps=0", "train.max_steps=60"]


@pytest.fixture(scope="module")
def step(corpus: list[str], tmp_path_factory: pytest.TempPathFactory) -> int:
    """The step at which it diverges, found with a row and a checkpoint at each step."""
    folder = tmp_path_factory.mktemp("diverged")
    cfg = configured(*corpus, *EXPLODES, f"runs_dir={folder / 'runs'}", "train.checkpoint_every=1")
    assert finish(cfg, folder / "log") == 1
    return json.loads((the_run(cfg).folder / "divergence.json").read_text())["step"]


@pytest.mark.parametrize("log_every", [1, 7, 50])
def test_a_divergence_names_its_step_whatever_is_logged(
    corpus: list[str], step: int, tmp_path: Path, log: Path, log_every: int
) -> None:
    cfg = configured(*corpus, *EXPLODES, f"runs_dir={tmp_path / 'runs'}", f"train.log_every={log_every}")
    assert finish(cfg, log) == 1
    assert last_line(log) == f"diverged at step {step}"
    run = the_run(cfg)
    status = run.status()
    assert (status["state"], status["error"]) == ("failed", f"diverged at step {step}")
    rows = read_metrics(run.metrics_path)
    assert all(row["step"] < step for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(int(path.name[5:]) <= step for path in checkpoints(run.checkpoints))


def test_the_record_of_a_divergence_has_the_batch_and_the_norms_of_each_layer(
    corpus: list[str], step: int, tmp_path: Path, log: Path
) -> None:
    cfg = configured(*corpus, *EXPLODES, f"runs_dir={tmp_path / 'runs'}", "diagnostics=none", "train.log_every=50")
    finish(cfg, log)
    record = json.loads((the_run(cfg).folder / "divergence.json").read_text())
    assert record["step"] == step == record["steps"][-1]["step"]
    assert (len(record["tokens"]), len(record["tokens"][0])) == (4, 16)
    assert [row[1:] for row in record["tokens"]] == [row[:-1] for row in record["targets"]]
    *before, last = record["steps"]
    assert {name.split(".")[1] for name in last["grad_norm"] if name.startswith("blocks.")} == {"0", "1"}
    assert all(math.isfinite(norm) for row in before for norm in row["grad_norm"].values())
    assert not all(math.isfinite(value) for value in (last["train/loss"], *last["grad_norm"].values()))


def test_a_diverged_run_is_tried_again_except_under_skip_failed(
    corpus: list[str], step: int, tmp_path: Path, log: Path
) -> None:
    overrides = [*corpus, *EXPLODES, f"runs_dir={tmp_path / 'runs'}"]
    assert finish(configured(*overrides), log) == 1
    assert finish(configured(*overrides), log) == 1
    assert finish(configured(*overrides, "skip_failed=true"), log) == 0
    assert f"skipped, it failed before: diverged at step {step}" in log.read_text()
    assert the_run(configured(*overrides)).status()["state"] == "failed"
