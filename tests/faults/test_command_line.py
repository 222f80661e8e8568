"""The command as people type it, its training processes killed under every launcher, and typed again."""

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
from tests.faults.harness import CONF, TINY, configured, finish, result

SEEDS = (0, 1)
KILLS = 12
LONG = ["train.max_steps=800", "train.eval_every=100", "train.log_every=10"]
"""So many steps that the run is still under way after all the kills."""


def sweep(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "lmablate.train", "-m", *TINY, *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(CONF).parent)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trainers(runs_dir: Path) -> list[int]:
    """The processes that say they train a run, and live."""
    running = [status for run in all_runs(runs_dir) if (status := run.status())["state"] == "running"]
    return [status["pid"] for status in running if process_is_alive(status["pid"])]


def kill_trainers(command: subprocess.Popen, runs_dir: Path, draw: random.Random) -> int:
    """Lets `command` run until something trains, kills that a moment later, and waits for the command's end.
    Returns how many were killed."""
    while command.poll() is None and not trainers(runs_dir):
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.5))
    doomed = trainers(runs_dir)
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    command.communicate()
    return len(doomed)


def of_seed(runs_dir: Path, seed: int) -> Run:
    (run,) = [run for run in all_runs(runs_dir) if f"-s{seed}-" in run.id]
    return run


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        pytest.param("basic", [], marks=pytest.mark.faults),
        pytest.param("local_parallel", [], marks=pytest.mark.faults),
        pytest.param("slurm", ["hydra.launcher.poll_seconds=1"], marks=pytest.mark.slurm),
    ],
)
def test_a_sweep_whose_processes_are_killed_ends_in_the_same_bytes(launcher, options, corpus, tmp_path, log):
    corpus = [*corpus, *LONG]
    alone = {seed: one_alone(corpus, seed, tmp_path / f"alone{seed}", log) for seed in SEEDS}
    runs_dir, draw, kills, starts = tmp_path / "runs", random.Random(0), 0, 0
    arguments = [*corpus, f"runs_dir={runs_dir}", f"hydra/launcher={launcher}", "seed=0,1", *options]
    while kills < KILLS and starts < 2 * KILLS:
        kills += kill_trainers(sweep(*arguments), runs_dir, draw)
        starts += 1
    assert kills >= KILLS
    last = sweep(*arguments)
    said, _ = last.communicate()
    assert last.returncode == 0, said
    for seed in SEEDS:
        assert result_of(of_seed(runs_dir, seed), tmp_path / f"view{seed}", alone[seed][0]) == alone[seed][1]
    print(f"{launcher}: {kills} kills, {starts} starts")


def one_alone(corpus: list[str], seed: int, folder: Path, log: Path) -> tuple[DictConfig, dict[str, bytes]]:
    cfg = configured(*corpus, f"seed={seed}", f"runs_dir={folder}")
    assert finish(cfg, log) == 0, log.read_text()
    return cfg, result(cfg)


def result_of(run: Run, view: Path, cfg: DictConfig) -> dict[str, bytes]:
    """`result` of one of several runs: seen through a folder that has it alone."""
    view.mkdir()
    (view / run.id).symlink_to(run.folder)
    cfg = cfg.copy()
    cfg.runs_dir = str(view)
    return result(cfg)
