"""A run that is killed, wherever, and started again ends in the same bytes as one that is left alone."""

import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from lmablate.train import train
from tests.faults.harness import configured, die_at_barrier, every_choice, finish, in_a_fork, result

CHOICES = list(every_choice())


def undisturbed(cfg: DictConfig, log: Path) -> tuple[dict[str, bytes], float]:
    """The result of `cfg`, and how many seconds it took."""
    started = time.perf_counter()
    assert finish(cfg, log) == 0, log.read_text()
    whole = result(cfg)
    shutil.rmtree(cfg.runs_dir)
    return whole, time.perf_counter() - started


def kill_at_random(cfg: DictConfig, log: Path, kills: int, draw: random.Random) -> int:
    """Kills `cfg` so often, emptying its folder whenever it gets through. Returns how often it did."""
    whole, seconds = undisturbed(cfg, log)
    finished = 0
    while kills:
        process = in_a_fork(lambda: train(cfg), log)
        process.join(draw.uniform(0, seconds))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        kills -= process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            finished += 1
            assert result(cfg) == whole
            shutil.rmtree(cfg.runs_dir)
    assert finish(cfg, log) == 0, log.read_text()
    assert result(cfg) == whole
    return finished


def test_torchs_random_state_is_a_function_of_the_seed(corpus, tmp_path, log):
    saved = []
    for number in range(2):
        cfg = configured(*corpus, f"runs_dir={tmp_path / str(number)}", "train.max_steps=1", "optim.warmup_steps=1")
        torch.seed()  # as every process begins: with a seed of its own
        assert finish(cfg, log) == 0, log.read_text()
        saved.append(result(cfg)["optimizer.safetensors"])
    assert saved[0] == saved[1]


@pytest.mark.parametrize("choices", CHOICES, ids=" ".join)
def test_random_kills_change_nothing(choices, corpus, tmp_path, log):
    cfg = configured(*corpus, *choices, f"runs_dir={tmp_path / 'runs'}")
    kill_at_random(cfg, log, kills=3, draw=random.Random(0))


@pytest.mark.faults
@pytest.mark.parametrize("choices", CHOICES, ids=" ".join)
def test_very_many_random_kills_change_nothing(choices, corpus, tmp_path, log):
    cfg = configured(*corpus, *choices, f"runs_dir={tmp_path / 'runs'}", "train.log_every=3")
    kill_at_random(cfg, log, kills=40, draw=random.Random(1))


def test_ctrl_c_saves_says_so_and_changes_nothing(corpus, tmp_path, log):
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=400", "train.checkpoint_every=20")
    whole, _ = undisturbed(cfg, log)
    process = in_a_fork(lambda: train(cfg), log)
    while not list(tmp_path.glob("runs/*/checkpoints")) and process.is_alive():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130, log.read_text()
    assert re.search(r"stopped by SIGINT at step \d+ and saved; the same command goes on from there", log.read_text())
    assert finish(cfg, log) == 0, log.read_text()
    assert result(cfg) == whole


def kill_at_barriers(cfg: DictConfig, log: Path, stride: int) -> int:
    """Kills one fresh run at its first write barrier, one at its (1 + stride)-th, and so on, and resumes each."""
    whole, _ = undisturbed(cfg, log)
    for kills in range(10_000):
        number = 1 + kills * stride

        def doomed(number: int = number) -> None:
            die_at_barrier(number)
            train(cfg)

        process = in_a_fork(doomed, log)
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        assert finish(cfg, log) == 0, log.read_text()
        assert result(cfg) == whole, number
        shutil.rmtree(cfg.runs_dir)
        if process.exitcode == 0:
            return kills
    raise AssertionError("no end of barriers")


def test_a_kill_at_write_barriers_changes_nothing(corpus, tmp_path, log):
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=10")
    assert kill_at_barriers(cfg, log, stride=11) >= 6


@pytest.mark.faults
def test_a_kill_at_every_write_barrier_changes_nothing(corpus, tmp_path, log):
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=20")
    kills = kill_at_barriers(cfg, log, stride=1)
    print(f"{kills} kills")
    assert kills > 60
