"""A sweep's training processes are killed under every launcher, and the same command is typed again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import DictConfig

from lmablate.runs.run import Run, all_runs
from lmablate.runs.states import process_is_alive
from tests.tiny import LONGER, ROOT, SMALL, configured, finish, result

SEEDS = (0, 1)
# Long enough for the run to be unfinished after all the kills.
LONG = [*LONGER, "train.max_steps=800", "train.eval_every=100", "train.log_every=10"]


def start_sweep(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lmablate.train", "-m", *SMALL, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trainers(runs_dir: Path) -> list[int]:
    """Return the ids of the living processes whose run's status says that they train it."""
    running = [status for run in all_runs(runs_dir) if (status := run.status())["state"] == "running"]
    return [status["pid"] for status in running if process_is_alive(status["pid"])]


def kill_trainers(command: subprocess.Popen[str], runs_dir: Path, draw: random.Random) -> int:
    """Let `command` run until processes train, kill these a moment later, and wait until the command ends.

    Returns:
        The number of killed processes.
    """
    while command.poll() is None and not trainers(runs_dir):
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.5))
    killed = trainers(runs_dir)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    command.communicate()
    return len(killed)


def run_of_seed(runs_dir: Path, seed: int) -> Run:
    (run,) = [run for run in all_runs(runs_dir) if f"-s{seed}-" in run.id]
    return run


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("launcher", "options", "least"),
    [
        pytest.param("basic", [], 12, marks=pytest.mark.faults),
        pytest.param("local_parallel", [], 12, marks=pytest.mark.faults),
        pytest.param("slurm", ["hydra.launcher.poll_seconds=1"], 4, marks=pytest.mark.slurm),  # half a minute each
    ],
)
def test_a_sweep_whose_processes_are_killed_ends_in_the_same_bytes(
    launcher: str, options: list[str], least: int, corpus: list[str], tmp_path: Path, log: Path
) -> None:
    corpus = [*corpus, *LONG]
    alone = {seed: train_alone(corpus, seed, tmp_path / f"alone{seed}", log) for seed in SEEDS}
    runs_dir, draw, kills, starts = tmp_path / "runs", random.Random(0), 0, 0
    arguments = [*corpus, f"runs_dir={runs_dir}", f"hydra/launcher={launcher}", "seed=0,1", *options]
    while kills < least and starts < 2 * least:
        kills += kill_trainers(start_sweep(*arguments), runs_dir, draw)
        starts += 1
    assert kills >= least
    last = start_sweep(*arguments)
    output, _ = last.communicate()
    assert last.returncode == 0, output
    for seed in SEEDS:
        assert result_of(run_of_seed(runs_dir, seed), tmp_path / f"view{seed}", alone[seed][0]) == alone[seed][1]
    print(f"{launcher}: {kills} kills, {starts} starts")


def train_alone(corpus: list[str], seed: int, folder: Path, log: Path) -> tuple[DictConfig, dict[str, bytes]]:
    cfg = configured(*corpus, f"seed={seed}", f"runs_dir={folder}")
    assert finish(cfg, log) == 0, log.read_text()
    return cfg, result(cfg)


def result_of(run: Run, view: Path, cfg: DictConfig) -> dict[str, bytes]:
    """Return the `result` of one of several runs, through a folder with a link to that run only."""
    view.mkdir()
    (view / run.id).symlink_to(run.folder)
    cfg = cfg.copy()
    cfg.runs_dir = str(view)
    return result(cfg)
