"""One run on two processes: the same curve as on one, and free to change their number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT, command, overrides


def torchrun(processes: int, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "lmablate.train"]
    return subprocess.run(
        [sys.executable, *launcher, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300
    )


def rows(folder: Path) -> list[dict[str, float]]:
    (path,) = (folder / "runs").glob("*/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_processes_give_the_curve_of_one(tmp_path: Path) -> None:
    steps = ["train.max_steps=50", "train.eval_every=10"]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    assert command([*overrides(folders[0]), *steps]).returncode == 0
    out = torchrun(2, [*overrides(folders[1]), *steps])
    assert out.returncode == 0, out.stderr[-3000:]
    one, two = map(rows, folders)
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for a, b in zip(one, two, strict=True):
        for key in a.keys() & {"train/loss", "val/loss", "val/bpb", "grad_norm"}:
            assert b[key] == pytest.approx(a[key], rel=2e-4), (a["step"], key)


def test_a_batch_that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    out = torchrun(2, [*overrides(tmp_path), "train.batch_size=5"])
    assert out.returncode != 0
    assert "train.batch_size=5 cannot be split among 2 processes" in out.stderr
