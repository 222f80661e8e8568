"""Run one command under a supervisor, a process of its own that outlives the judge.

The folder holds command.json. Afterwards it also holds log.txt, what the command printed, result.json, how it ended,
and work/, the folder in which it ran. The supervisor holds the folder's lock as long as the command runs. A second one
waits for it, and then finds the result. So a judge may be killed at any instant: what it started comes to its end, and
nothing is run twice.

work/ has a link to each entry of the folder in which the user typed the command, so relative paths to scripts and data
work there, and what a run writes beside them is its own.
"""

import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lmablate.files import locked, read_json, write_json

COMMAND, LOG, RESULT, WORK = "command.json", "log.txt", "result.json", "work"
# Bytes of one read, and seconds between two looks at a command that prints nothing.
_CHUNK, _POLL_S = 1 << 18, 0.05
# Seconds that a command has to end after SIGTERM, and its children after their parent.
_GRACE_S = 5.0
# Of prctl(2), from Linux's prctl.h.
_PR_SET_CHILD_SUBREAPER = 36


class BoundedLog:
    """A log that keeps its first and its last half, whatever is printed.

    Args:
        path: the file.
        limit: most bytes of the file, apart from one line about what is left out.

    Attributes:
        printed: bytes that were printed so far.
        left_out: bytes between the two halves, once it is closed.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._file = path.open("wb")
        self._free = limit - limit // 2
        self._tail_limit = limit // 2
        self._tail = bytearray()
        self.printed = self.left_out = 0

    def write(self, data: bytes) -> None:
        """Take what the command has printed."""
        self.printed += len(data)
        head, rest = data[: self._free], data[self._free :]
        if head:
            self._free -= len(head)
            self._file.write(head)
            self._file.flush()
        self._tail += rest
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit]

    def close(self) -> None:
        """Write the last half."""
        tail = self._tail[-self._tail_limit :] if self._tail_limit else b""
        self.left_out = self.printed - self._file.tell() - len(tail)
        if self.left_out:
            self._file.write(b"\n[... %d bytes are left out ...]\n" % self.left_out)
        self._file.write(tail)
        self._file.close()


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def supervise(path: str) -> None:
    """Run the command of a folder, unless it has a result.

    SIGTERM ends the command and leaves no result.

    Args:
        path: the run's folder, with command.json.
    """
    folder = Path(path)
    signal.signal(signal.SIGTERM, _stop)
    _adopt_orphans()
    with locked(folder / ".lock"):
        if not (folder / RESULT).exists():
            spec = read_json(folder / COMMAND)
            _make_work(folder / WORK, Path(spec["source"]), spec["own"])
            write_json(folder / RESULT, _run(folder, spec))


def _adopt_orphans() -> None:
    """Let the kernel give us the children of a parent that has ended, so that no fork of a command escapes."""
    with suppress(OSError, AttributeError):  # Linux only; elsewhere the process group has to do
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _make_work(work: Path, source: Path, own: Iterable[str]) -> None:
    """Make a fresh working folder with a link to each entry of `source`, except those named `own`."""
    shutil.rmtree(work, ignore_errors=True)  # of an attempt that was interrupted; links are not followed
    work.mkdir()
    for name in sorted(set(os.listdir(source)) - {*own}):
        (work / name).symlink_to(source / name)


def _run(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Run the command to its end or its time limit. Returns the content of result.json."""
    started, clock = time.time(), time.monotonic()
    log = BoundedLog(folder / LOG, spec["log_bytes"])
    end: dict[str, Any] = {"state": "failed", "exit_code": None, "left_behind": 0}
    try:
        process = subprocess.Popen(
            spec["words"],
            cwd=folder / WORK,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        end["error"] = f"{error.filename or spec['words'][0]}: {error.strerror}"
    else:
        try:
            in_time = _follow(process, log, clock + spec["limit_s"])
            end["seconds"] = time.monotonic() - clock
            if in_time:
                end["left_behind"] = _wait_for_descendants()
                end["state"] = "done" if process.returncode == 0 else "failed"
            else:
                end["state"] = "timeout"
        finally:
            _end_all(process)
        end["exit_code"] = process.returncode
    log.close()
    return end | {
        "seconds": end.get("seconds", time.monotonic() - clock),
        "started": started,
        "printed": log.printed,
        "left_out": log.left_out,
    }


def _follow(process: subprocess.Popen[bytes], log: BoundedLog, deadline: float) -> bool:
    """Take what the command prints until it ends. Returns False if the deadline comes first."""
    assert process.stdout
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        closed = False
        while True:
            ended = process.poll() is not None
            if not closed and selector.select(0 if ended else _POLL_S):
                data = process.stdout.read(_CHUNK)
                log.write(data or b"")
                closed = data == b""
            elif ended:
                return True
            elif closed:
                time.sleep(_POLL_S)
            if time.monotonic() > deadline:
                return process.poll() is not None


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End a command's process group, first politely, and then whatever it has started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for signum, patience in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _GRACE_S
    while (left := _descendants()) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _wait_for_descendants() -> int:
    """Wait some time for processes that the command has left behind. Returns how many are still there."""
    deadline = time.monotonic() + _GRACE_S
    while (left := _descendants()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return len(left)


def _descendants() -> list[int]:
    """Return the processes that descend from this one, and reap those that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    found = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return sorted(found - {os.getpid()})
