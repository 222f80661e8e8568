"""The mirror of the metrics, with the real wandb client, offline."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from lmablate.errors import UserError
from lmablate.results.exports.wandb_offline import Segment, read_segment
from lmablate.training.tracking import Guarded, NoTracking, Wandb

ROWS = [{"step": 0, "train/loss": 2.5}, {"step": 3, "train/loss": 1.5, "val/loss": 1.25}]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """There is no API key, and this machine's own settings of wandb are not read. Afterwards wandb's service stops."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    yield
    with contextlib.suppress(OSError):  # a test has killed the service
        wandb.teardown()


def recorded(tracker: Wandb, folder: Path, failed: bool) -> Segment:
    """What wandb has recorded of a run of two rows."""
    tracker.start(folder, "tiny-s0-0badcafe", "an-experiment", {"seed": 0})
    for row in ROWS:
        tracker.log(row)
    tracker.finish(failed)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return read_segment(path)


def test_wandb_records_the_rows_of_a_run_under_its_own_id_and_steps(tmp_path):
    segment = recorded(Wandb(mode="offline"), tmp_path, failed=False)
    assert segment.header["run_id"] == "tiny-s0-0badcafe"
    assert segment.rows == [(0, {"train/loss": 2.5}), (3, {"train/loss": 1.5, "val/loss": 1.25})]
    assert segment.exit_code == 0


def test_without_a_key_an_online_run_is_tracked_offline_with_a_warning(tmp_path, caplog):
    segment = recorded(Wandb(mode="online"), tmp_path, failed=True)
    assert "wandb cannot be reached (No API key configured" in caplog.text
    assert len(segment.rows) == 2
    assert segment.exit_code == 1


def test_without_a_tracker_nothing_is_written(tmp_path):
    tracker = NoTracking()
    tracker.start(tmp_path, "tiny-s0-0badcafe", "an-experiment", {})
    tracker.log(ROWS[0])
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


class Failing(NoTracking):
    """A tracker that raises `error` in the call `at`, after `after` good ones."""

    def __init__(self, at: str, error: BaseException, after: int = 0) -> None:
        self.at, self.error, self.after, self.calls = at, error, after, []

    def start(self, folder: Path, run_id: str, group: str, config: object) -> None:
        self._call("start")

    def log(self, row: object) -> None:
        self._call("log")

    def finish(self, failed: bool = False) -> None:
        self._call("finish")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at and self.calls.count(name) > self.after:
            raise self.error


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("at", ["start", "log", "finish"])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("broken"), OSError(28, "No space left on device"), BrokenPipeError(), ConnectionResetError(),
        TimeoutError(), KeyError("run"), AssertionError(), SystemExit(1), MemoryError(), UnicodeError("x"),
        RecursionError(), StopIteration(),
    ],
    ids=repr,
)  # fmt: skip
def test_a_tracker_may_fail_at_any_moment_and_says_so_once(tmp_path, caplog, at, error, after):
    failing = Failing(at, error, after)
    tracker = Guarded(failing)
    tracker.start(tmp_path, "id", "group", {})
    for row in (*ROWS, *ROWS):
        tracker.log(row)
    tracker.finish()
    tracker.finish()
    raised = failing.calls.count(at) > after
    assert len(caplog.records) == int(raised)
    assert not raised or "from here on it mirrors nothing, metrics.jsonl has every row" in caplog.text
    assert not raised or failing.calls[-1] == at  # it is not called again


def test_the_user_may_still_interrupt_a_tracker(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Guarded(Failing("start", KeyboardInterrupt())).start(tmp_path, "id", "group", {})


@pytest.mark.parametrize("project", ["a/b", "", " ", "a:b", "a#b", "a?b", "a%b", "a\\b", "x" * 129, "a\nb"])
def test_a_project_that_wandb_refuses_is_refused_before_the_run(project):
    with pytest.raises(UserError, match=r"tracking.project=.* is not allowed"):
        Wandb(project=project)


@pytest.mark.parametrize("project", ["lmablate", "my project", "größe", "a.b-c_d", "x" * 128, "2024"])
def test_wandb_itself_accepts_the_other_projects(project, tmp_path):
    assert len(recorded(Wandb(project=project), tmp_path, failed=False).rows) == 2


@pytest.mark.parametrize(
    ("variables", "writes"),
    [
        ({"WANDB_MODE": "disabled"}, False),
        ({"WANDB_MODE": "Disabled"}, False),
        ({"WANDB_DISABLED": "true"}, False),
        ({"WANDB_DISABLED": "1"}, False),
        ({"WANDB_MODE": "dryrun"}, True),
        ({"WANDB_MODE": "offline"}, True),
        ({"WANDB_MODE": ""}, True),
        ({"WANDB_DISABLED": "false"}, True),
    ],
    ids=str,
)
def test_wandbs_own_variables_are_obeyed(variables, writes, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tracker = Wandb(mode="offline")
    tracker.start(tmp_path, "tiny-s0-0badcafe", "an-experiment", {"seed": 0})
    for row in ROWS:
        tracker.log(row)
    tracker.finish()
    assert bool(list(tmp_path.glob("wandb/offline-run-*"))) == writes


@pytest.mark.parametrize("mode", ["onlin", "0", "true", "shared"])
def test_a_mode_that_wandb_does_not_know_is_refused(mode, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(UserError, match="WANDB_MODE"):
        Wandb()


# What another program may do to wandb's service, or to its folder, while a run is mirrored.
def kill_the_service(folder: Path) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"wandb-core" in path.read_bytes() and os.getpid() == parent_of(int(path.parent.name)):
                os.kill(int(path.parent.name), signal.SIGKILL)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def remove_the_folder(folder: Path) -> None:
    shutil.rmtree(folder / "wandb")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("disturb", [kill_the_service, remove_the_folder])
def test_a_run_goes_on_when_the_real_wandb_breaks(disturb, tmp_path, caplog):
    tracker = Guarded(Wandb())
    tracker.start(tmp_path, "tiny-s0-0badcafe", "an-experiment", {"seed": 0})
    tracker.log(ROWS[0])
    time.sleep(0.5)
    disturb(tmp_path)
    for step in range(3, 200):
        tracker.log({"step": step, "train/loss": 1.0})
    tracker.finish()
    assert len(caplog.records) <= 1, caplog.text


@pytest.mark.timeout(150)
def test_a_run_goes_on_when_wandb_cannot_begin(tmp_path, caplog):
    (tmp_path / "wandb").write_text("a file where wandb wants a folder")
    tracker = Guarded(Wandb())
    tracker.start(tmp_path, "tiny-s0-0badcafe", "an-experiment", {"seed": 0})
    tracker.log(ROWS[0])
    tracker.finish()
    assert len(caplog.records) <= 1, caplog.text
