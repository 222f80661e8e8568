"""Several processes on one run: one trains, the others skip; readers see whole files; a dead process holds no lock."""

import json
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from omegaconf import DictConfig

from lmablate.files import Busy
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import Run
from lmablate.runs.states import collect_states
from lmablate.train import train
from tests.tiny import LONGER, configured, finish, in_a_fork, result, the_run


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def busy(
    corpus: list[str], tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[DictConfig, ForkProcess]]:
    """A run that a process trains until it is killed, and that process."""
    monkeypatch.setattr("lmablate.runs.run.LOCK_TIMEOUT_S", 1.0)
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=100000", "train.eval_every=100000")
    process = in_a_fork(lambda: train(cfg), log)
    wait_for(lambda: list(tmp_path.glob("runs/*/metrics.jsonl")) and the_run(cfg).status()["state"] == "running")
    yield cfg, process
    process.kill()
    process.join()


@pytest.mark.usefixtures("file_system")
def test_the_second_process_skips_and_says_who_has_the_run(
    busy: tuple[DictConfig, ForkProcess], tmp_path: Path
) -> None:
    cfg, first = busy
    log = tmp_path / "second"
    assert finish(cfg, log) == 0
    assert f"is being trained by process {first.pid} on " in log.read_text()
    assert "skipped" in log.read_text()
    assert first.is_alive()


@pytest.mark.usefixtures("file_system")
def test_a_killed_process_is_found_dead_and_its_run_can_be_locked(busy: tuple[DictConfig, ForkProcess]) -> None:
    cfg, first = busy
    run = the_run(cfg)
    assert state_of(run) == "running"
    with pytest.raises(Busy), run.lock():
        pass
    first.kill()
    first.join()
    assert state_of(run) == "died"
    wait_for(lambda: can_be_locked(run))


def state_of(run: Run) -> str:
    (state,) = collect_states([(run, "", "")], run.folder.parent)
    return state.state


def can_be_locked(run: Run) -> bool:
    """Return whether the lock is free: with flock at once, without it when the lease has run out."""
    try:
        with run.lock():
            return True
    except Busy:
        return False


def test_a_reader_sees_only_whole_files(busy: tuple[DictConfig, ForkProcess]) -> None:
    cfg, first = busy
    run = the_run(cfg)
    seen = set()
    deadline = time.monotonic() + 120
    while len(seen) < 2:
        assert time.monotonic() < deadline
        status = json.loads((run.folder / "status.json").read_bytes())
        assert status["state"] == "running"
        rows = read_metrics(run.metrics_path)
        assert [row["step"] for row in rows] == list(range(len(rows)))
        seen.add(len(rows))
    assert first.is_alive()


def test_of_several_processes_one_trains_and_the_result_is_the_same(
    corpus: list[str], tmp_path: Path, log: Path
) -> None:
    alone = configured(*LONGER, *corpus, f"runs_dir={tmp_path / 'alone'}")
    together = configured(*LONGER, *corpus, f"runs_dir={tmp_path / 'together'}")
    assert finish(alone, log) == 0
    processes = [in_a_fork(lambda: train(together), log) for _ in range(4)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0], log.read_text()
    assert result(together) == result(alone)
