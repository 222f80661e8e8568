"""Two at once: one trains, the other skips; a reader meets whole files; a dead holder holds nothing."""

import errno
import fcntl
import json
import os
import time

import pytest

from lmablate.files import Busy
from lmablate.runs.metrics import read_metrics
from lmablate.runs.states import Queue, state_of
from lmablate.train import train
from tests.faults.harness import configured, finish, in_a_fork, result, the_run


@pytest.fixture(params=["flock", "no flock"])
def file_system(request, monkeypatch):
    """The real file system, and one on which flock answers as Lustre does when mounted without it."""
    if request.param == "no flock":

        def refuse(*_):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(files, "_LEASE_SECONDS", 3.0)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def busy(corpus, tmp_path, log):
    """A run that a process is at, for as long as it is not killed; the process; the log."""
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=100000", "train.eval_every=100000")
    process = in_a_fork(lambda: train(cfg), log)
    wait_for(lambda: list(tmp_path.glob("runs/*/metrics.jsonl")) and the_run(cfg).status()["state"] == "running")
    yield cfg, process
    process.kill()
    process.join()


@pytest.mark.usefixtures("file_system")
def test_the_second_process_skips_and_says_who_has_the_run(busy, tmp_path):
    cfg, first = busy
    log = tmp_path / "second"
    assert finish(cfg, log) == 0
    assert f"is being trained by process {first.pid} on " in log.read_text()
    assert "skipped" in log.read_text()
    assert first.is_alive()


@pytest.mark.usefixtures("file_system")
def test_a_killed_holder_is_found_dead_and_followed(busy):
    cfg, first = busy
    run = the_run(cfg)
    assert state_of(run, "", Queue(None), {}).state == "running"
    with pytest.raises(Busy), run.lock():
        pass
    first.kill()
    first.join()
    assert state_of(run, "", Queue(None), {}).state == "died"
    wait_for(lambda: can_be_locked(run))


def can_be_locked(run) -> bool:
    """At once with flock; without it when the lease has run out."""
    try:
        with run.lock():
            return True
    except Busy:
        return False


def test_a_reader_meets_whole_files_only(busy):
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


def test_of_several_processes_one_trains_and_the_result_is_the_same(corpus, tmp_path, log):
    alone = configured(*corpus, f"runs_dir={tmp_path / 'alone'}")
    together = configured(*corpus, f"runs_dir={tmp_path / 'together'}")
    assert finish(alone, log) == 0
    processes = [in_a_fork(lambda: train(together), log) for _ in range(4)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0], log.read_text()
    assert result(together) == result(alone)
