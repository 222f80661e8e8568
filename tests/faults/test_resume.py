"""A run that is killed anywhere and started again ends in the same bytes as one that is left alone."""

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
from tests.faults.helpers import die_at_barrier
from tests.tiny import LONGER, configured, every_choice, finish, in_a_fork, result

CHOICES = list(every_choice())


def undisturbed(cfg: DictConfig, log: Path) -> tuple[dict[str, bytes], float]:
    """Return the result of `cfg`, and how many seconds the run took."""
    started = time.perf_counter()
    assert finish(cfg, log) == 0, log.read_text()
    whole = result(cfg)
    shutil.rmtree(cfg.runs_dir)
    return whole, time.perf_counter() - started


def kill_at_random(cfg: DictConfig, log: Path, kills: int, draw: random.Random) -> int:
    """Kill the run `kills` times, and empty its folder when it finishes before a kill. Return how often it finished."""
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


def test_torchs_random_state_is_a_function_of_the_seed(corpus: list[str], tmp_path: Path, log: Path) -> None:
    saved = []
    for number in range(2):
        cfg = configured(*corpus, f"runs_dir={tmp_path / str(number)}", "train.max_steps=1", "optim.warmup_steps=1")
        torch.seed()  # every process begins with another seed
        assert finish(cfg, log) == 0, log.read_text()
        saved.append(result(cfg)["optimizer.safetensors"])
    assert saved[0] == saved[1]


@pytest.mark.slow
@pytest.mark.parametrize("choices", CHOICES[:3], ids=" ".join)
def test_random_kills_change_nothing(choices: list[str], corpus: list[str], tmp_path: Path, log: Path) -> None:
    cfg = configured(*LONGER, *corpus, *choices, f"runs_dir={tmp_path / 'runs'}")
    kill_at_random(cfg, log, kills=3, draw=random.Random(0))


@pytest.mark.faults
@pytest.mark.parametrize("choices", CHOICES, ids=" ".join)
def test_many_random_kills_change_nothing(choices: list[str], corpus: list[str], tmp_path: Path, log: Path) -> None:
    cfg = configured(*LONGER, *corpus, *choices, f"runs_dir={tmp_path / 'runs'}", "train.log_every=3")
    kill_at_random(cfg, log, kills=40, draw=random.Random(1))


@pytest.mark.slow
def test_ctrl_c_saves_says_so_and_changes_nothing(corpus: list[str], tmp_path: Path, log: Path) -> None:
    cfg = configured(*LONGER, *corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=150")
    whole, _ = undisturbed(cfg, log)
    process = in_a_fork(lambda: train(cfg), log)
    while not list(tmp_path.glob("runs/*/checkpoints")) and process.is_alive():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130, log.read_text()
    assert re.search(r"stopped by SIGINT at step \d+ and saved; the same command resumes it", log.read_text())
    assert finish(cfg, log) == 0, log.read_text()
    assert result(cfg) == whole


def kill_at_barriers(cfg: DictConfig, log: Path, stride: int) -> int:
    """Kill a new run at its first write barrier, another at its (1 + stride)-th, and so on; resume and compare each.

    Returns:
        The number of runs that were killed, which is known when one finishes before its barrier.
    """
    whole, _ = undisturbed(cfg, log)
    for kills in range(10_000):
        number = 1 + kills * stride

        def train_until_barrier(number: int = number) -> None:
            die_at_barrier(number)
            train(cfg)

        process = in_a_fork(train_until_barrier, log)
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        assert finish(cfg, log) == 0, log.read_text()
        assert result(cfg) == whole, number
        shutil.rmtree(cfg.runs_dir)
        if process.exitcode == 0:
            return kills
    raise AssertionError("the run has more write barriers than can be")


@pytest.mark.slow
def test_a_kill_at_some_write_barriers_changes_nothing(corpus: list[str], tmp_path: Path, log: Path) -> None:
    cfg = configured(*LONGER, *corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=10")
    assert kill_at_barriers(cfg, log, stride=11) >= 6


@pytest.mark.faults
def test_a_kill_at_every_write_barrier_changes_nothing(corpus: list[str], tmp_path: Path, log: Path) -> None:
    cfg = configured(*LONGER, *corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=20")
    kills = kill_at_barriers(cfg, log, stride=1)
    print(f"{kills} kills")
    assert kills > 60
