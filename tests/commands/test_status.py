"""`python -m lmablate.status`."""

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmablate.runs.run import Run
from tests.tiny import ROOT, exit_code


def test_status_tells_done_runs_from_missing_ones(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tiny) == 0
    assert exit_code(tiny, "lmablate.status") == 0
    assert "1 done" in capsys.readouterr().out
    assert exit_code([*tiny, "seed=0,1"], "lmablate.status") == 1
    assert "1 missing" in capsys.readouterr().out


def test_the_status_of_a_folder_lists_every_run_in_it(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tiny) == 0
    runs_dir = next(override for override in tiny if override.startswith("runs_dir=")).removeprefix("runs_dir=")
    capsys.readouterr()
    assert exit_code([runs_dir], "lmablate.status") == 0
    printed = capsys.readouterr().out
    assert "-s0-" in printed
    assert "12/12" in printed
    assert "1 done" in printed


def test_a_folder_that_does_not_exist_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["/nowhere"], "lmablate.status") == 2
    assert capsys.readouterr().err.startswith("lmablate: /nowhere is not a folder")


class Watcher:
    """`python -m lmablate.status FOLDER watch=true` on a terminal of 80 x 24 characters."""

    def __init__(self, folder: Path) -> None:
        self._terminal, inner = os.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lmablate.status", str(folder), "watch=true"], cwd=ROOT,
            stdin=inner, stdout=inner, stderr=inner, env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(inner)
        self.text = ""

    def read_until(self, words: str = "\0") -> str:
        """Return all that was shown, as soon as `words` are, or at the end."""
        with contextlib.suppress(OSError):
            while words not in self.text and (data := os.read(self._terminal, 10_000)):
                self.text += data.decode(errors="replace")
        return self.text

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Watcher, Run]]:
    """A watcher of a folder with one run, which is running, and that run."""
    run = Run.create(tmp_path, {"config": {}}, "tiny-s0", "")
    run.metrics_path.write_text('{"step":3,"train/loss":4.321,"val/loss":5.678,"tokens_per_s":1234.5}\n')
    run.set_status("running", step=3, max_steps=10, seconds_left=90.0)
    watcher = Watcher(tmp_path)
    yield watcher, run
    watcher.close()


def files_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_watch_shows_loss_speed_and_time_left_until_it_is_stopped(watched: tuple[Watcher, Run], sent: int) -> None:
    watcher, run = watched
    before = files_of(run.folder.parent)
    text = watcher.read_until("1 running")
    for shown in ("3/10", "4.321", "5.678", "1.2k", "1.5 min", "about 1.5 min left"):
        assert shown in text
    watcher.process.send_signal(sent)
    text = watcher.read_until()
    assert watcher.process.wait(60) in ((130,) if sent == signal.SIGINT else (-sent, 128 + sent))
    assert "Traceback" not in text
    assert sent != signal.SIGINT or "lmablate: interrupted." in text
    assert files_of(run.folder.parent) == before


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("failed", 1), ("preempted", 1)])
def test_the_watch_ends_by_itself(watched: tuple[Watcher, Run], state: str, code: int) -> None:
    watcher, run = watched
    watcher.read_until("1 running")
    run.set_status(state, step=10, max_steps=10, error="out of luck")
    if code:  # a minute later
        status = (run.folder / "status.json").read_text()
        (run.folder / "status.json").write_text(status.replace('"heartbeat": 1', '"heartbeat": '))
    text = watcher.read_until()
    assert watcher.process.wait(60) == code
    assert text.rstrip().endswith(f"1 {state}")
    assert state != "failed" or "failed: out of luck" in text
