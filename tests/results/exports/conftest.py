"""Runs that were really trained, and folders of made-up runs."""

from pathlib import Path

import pytest

from tests.results.exports.helpers import make_config, make_run, training_rows
from tests.tiny import SMALL, command, write_corpus

STEPS = 6


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two runs of 6 steps, trained by the real command and mirrored by the real wandb client."""
    folder = tmp_path_factory.mktemp("trained")
    chosen = {"train.max_steps": STEPS, "train.eval_every": 3, "optim.warmup_steps": 2, "tracking": "wandb_offline"}
    small = [override for override in SMALL if override.partition("=")[0] not in chosen]
    chosen |= {"model/pos": "rope,nope", "name": "tiny", "runs_dir": folder / "runs"}
    done = command(["-m", *small, *(f"{key}={value}" for key, value in chosen.items()), *write_corpus(folder)])
    assert done.returncode == 0, done.stderr
    return folder / "runs"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """Two finished arms, one diverged run, one that has logged nothing yet; and a shared baseline."""
    folder = tmp_path / "runs"
    choices = {"model/tying": "true"}
    make_run(folder, training_rows(0), {"tying": choices, "alone": {}}, make_config(tying="true"))
    make_run(folder, training_rows(1), {"tying": {"model/tying": "false"}}, make_config(tying="false"))
    early = [row for row in training_rows(2) if row["step"] < 50]
    broken = "Diverged: diverged at step 50"
    make_run(folder, early, {"tying": choices}, make_config(1), state="failed", error=broken)
    make_run(folder, [], {"tying": choices}, make_config(2), state="running")
    return folder
