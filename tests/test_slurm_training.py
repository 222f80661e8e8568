"""The real trainer on a real SLURM cluster (scripts/slurm_cluster.sh up)."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from lmablate import slurm
from tests.tiny import command, overrides

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not slurm.available(), reason="no SLURM answers here: scripts/slurm_cluster.sh up"),
]
SLURM = ["-m", "hydra/launcher=slurm", "hydra.launcher.poll_seconds=1"]


def weights(runs_dir: Path) -> dict[str, bytes]:
    """The last checkpoint's weights of every run, by its id."""
    folders = sorted(runs_dir.glob("*/checkpoints"))
    return {f.parent.name: (max(f.glob("step_*")) / "model.safetensors").read_bytes() for f in folders}


def rows(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in lines]


def wait_for(path: Path, text: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not (path.is_file() and text in path.read_text()):
        assert time.monotonic() < deadline, f"no {text!r} in {path}"
        time.sleep(0.1)


def test_a_sweep_gives_the_bits_of_the_basic_launcher(tmp_path: Path) -> None:
    sweep = [*overrides(tmp_path), "model/pos=rope,sin,learned,nope", "seed=0,1"]
    on_slurm = command([*SLURM, *sweep])
    assert on_slurm.returncode == 0, on_slurm.stderr
    basic = command(["-m", "hydra/launcher=basic", *sweep, f"runs_dir={tmp_path / 'basic'}"])
    assert basic.returncode == 0, basic.stderr
    ours = weights(tmp_path / "runs")
    assert len(ours) == 8
    assert ours == weights(tmp_path / "basic")


def test_a_requeued_run_ends_in_the_same_bits_and_writes_each_step_once(tmp_path: Path) -> None:
    long = ["train.max_steps=1500", "train.checkpoint_every=100", "train.eval_every=500", "train.log_every=10"]
    arguments = [*overrides(tmp_path), *long, "seed=0,1"]
    undisturbed = command(["-m", "hydra/launcher=basic", *arguments, f"runs_dir={tmp_path / 'basic'}"])
    assert undisturbed.returncode == 0, undisturbed.stderr
    submitted = command([*SLURM, *arguments, "hydra.launcher.detach=true"])
    assert submitted.returncode == 0, submitted.stderr
    names = sorted(weights(tmp_path / "basic"))
    statuses = [tmp_path / "runs" / name / "status.json" for name in names]
    wait_for(statuses[0], '"running"')
    job = json.loads(statuses[0].read_text())["slurm_job_id"]
    subprocess.run(["scontrol", "requeue", job], check=True)
    for status in statuses:
        wait_for(status, '"done"', 240)
    assert weights(tmp_path / "runs") == weights(tmp_path / "basic")
    for name in names:
        assert rows(tmp_path / "runs" / name) == rows(tmp_path / "basic" / name)


def test_two_nodes_give_the_curve_of_one_process(tmp_path: Path) -> None:
    steps = [*overrides(tmp_path), "train.max_steps=50", "train.eval_every=10"]
    alone = command([*steps, f"runs_dir={tmp_path / 'alone'}"])
    assert alone.returncode == 0, alone.stderr
    together = command([*SLURM, "hydra.launcher.nodes=2", *steps, "seed=0"])
    assert together.returncode == 0, together.stderr
    (one,), (two,) = ([*(tmp_path / name).glob("*/run.json")] for name in ("alone", "runs"))
    for a, b in zip(rows(one.parent), rows(two.parent), strict=True):
        for key in a.keys() & {"train/loss", "val/loss", "grad_norm"}:
            assert b[key] == pytest.approx(a[key], rel=2e-4), (a["step"], key)


def test_status_tells_of_a_cancelled_run(tmp_path: Path) -> None:
    arguments = [*overrides(tmp_path), "train.max_steps=100000", "seed=3"]
    assert command([*SLURM, *arguments, "hydra.launcher.detach=true"]).returncode == 0
    (status,) = wait_for_one(tmp_path / "runs")
    wait_for(status, '"running"')
    job = json.loads(status.read_text())["slurm_job_id"]
    subprocess.run(["scancel", "--signal=KILL", job], check=False)
    subprocess.run(["scancel", job], check=True)
    deadline = time.monotonic() + 60
    while (out := command(arguments, "lmablate.status")).stdout.count("1 done") == 0:
        if re.search(r"1 (died|preempted)", out.stdout):
            break
        assert time.monotonic() < deadline, out.stdout
    assert out.returncode == 1


def wait_for_one(runs_dir: Path) -> list[Path]:
    deadline = time.monotonic() + 90
    while not (found := [*runs_dir.glob("*/status.json")]):
        assert time.monotonic() < deadline, "no run has started"
        time.sleep(0.2)
    return found
