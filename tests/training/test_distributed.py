"""One run on two processes: they agree with each other, and train to the curve of one process."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lmablate.errors import UserError
from lmablate.training.distributed import Workers
from tests.tiny import ROOT, command, overrides


def torchrun(processes: int, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "lmablate.train"]
    return subprocess.run(
        [sys.executable, *launcher, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300
    )


def rows(folder: Path) -> list[dict[str, float]]:
    (path,) = (folder / "runs").glob("*/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def take_part(rank: int, port: int, folder: Path) -> None:
    """One of two processes with gloo between them; it writes what it got to a file."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with Workers.init(torch.device("cpu")) as workers:
        value = torch.tensor([1.0, 10.0]) * (rank + 1)
        answers = {
            "rank": workers.rank,
            "is_main": workers.is_main,
            "sum": workers.sum(value).tolist(),
            "mean": workers.mean(value).tolist(),
            "value": value.tolist(),
            "any": [workers.any(False), workers.any(rank == 1)],
        }
        with workers.main_process_first():
            if workers.is_main:
                time.sleep(0.3)
                (folder / "prepared").touch()
            answers["prepared"] = (folder / "prepared").exists()
        (folder / f"{rank}.json").write_text(json.dumps(answers))


def test_two_processes_agree(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=take_part, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    shared = {"sum": [3.0, 30.0], "mean": [1.5, 15.0], "any": [False, True], "prepared": True}
    for rank, value in enumerate(([1.0, 10.0], [2.0, 20.0])):
        answers = json.loads((tmp_path / f"{rank}.json").read_text())
        assert answers == {"rank": rank, "is_main": rank == 0, "value": value, **shared}


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    module, value = torch.nn.Linear(1, 1), torch.ones(2)
    with Workers.init(torch.device("cpu")) as workers, workers.main_process_first():
        assert (workers.rank, workers.world_size, workers.is_main) == (0, 1, True)
        assert workers.wrap_ddp(module) is module
        assert workers.sum(value) is workers.mean(value) is value
        assert [workers.any(flag) for flag in (False, True)] == [False, True]
        workers.check_batch(5)
        workers.barrier()
    with pytest.raises(UserError, match=r"train\.batch_size=5 cannot be split among 2 processes"):
        Workers(0, 2, torch.device("cpu")).check_batch(5)


# Choices of today beside those of the base config; one line is one more run of two processes.
CHOICES = [
    [],
    ["optim=muon", "loss=z", "schedule=wsd", "model/attn=mqa", "model/values=residual", "model/mixer=canon"],
    ["model/dropout=branches", "model/bias=all", "model/logits=cap", "optim/average=ema"],
]


@pytest.mark.slow
@pytest.mark.parametrize("choices", CHOICES, ids=" ".join)
def test_two_processes_give_the_curve_of_one(tmp_path: Path, choices: list[str]) -> None:
    steps = ["train.max_steps=50", "train.eval_every=10", *choices]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    assert command([*overrides(folders[0]), *steps]).returncode == 0
    out = torchrun(2, [*overrides(folders[1]), *steps])
    assert out.returncode == 0, out.stderr[-3000:]
    one, two = map(rows, folders)
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for a, b in zip(one, two, strict=True):
        for key in a.keys() & {"train/loss", "val/loss", "val/bpb", "grad_norm", "final/val_loss", "final/val_bpb"}:
            assert b[key] == pytest.approx(a[key], rel=2e-4), (a["step"], key)


@pytest.mark.slow
def test_a_batch_that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    out = torchrun(2, [*overrides(tmp_path), "train.batch_size=5"])
    assert out.returncode != 0
    assert "train.batch_size=5 cannot be split among 2 processes" in out.stderr
