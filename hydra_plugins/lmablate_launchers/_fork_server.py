"""The launcher's side of `_child.py`: a process that forks the jobs of a sweep, and the jobs."""

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from lmablate.machine import THREAD_VARIABLES

from . import _child

# Time between two looks at a job that is to end.
_POLL_SECONDS = 0.05


class ForkServer:
    """A process that has imported `modules`, and forks a process for each job.

    Args:
        modules: what the jobs need; a module that cannot be imported is left to the jobs.
        threads: threads of a job's numerical libraries, which size their pools when they are imported.
    """

    def __init__(self, modules: Iterable[str], threads: int) -> None:
        alive, self._alive = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-u", _child.__file__, str(alive)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
            start_new_session=True,  # else the terminal sends Ctrl-C to the jobs, too
            pass_fds=[alive],
        )
        os.close(alive)
        self._unread = b""
        self.started: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.dead = False
        self._send((sys.path, list(modules)))

    def start(self, number: int, log_file: Path, *job: bytes | str) -> int | None:
        """Start a job and return the id of its process; None if this server has died."""
        self._send((number, str(log_file), *job))
        while number not in self.started and not self.dead:
            self.read_replies(wait=True)
        return self.started.get(number)

    def read_replies(self, wait: bool = False) -> None:
        """Bring `started`, `ended` and `dead` up to date.

        Args:
            wait: whether to wait for the next reply.
        """
        assert self._process.stdout is not None
        while not self.dead and (wait or select.select([self._process.stdout], [], [], 0)[0]):
            received = os.read(self._process.stdout.fileno(), 1 << 16)
            self.dead, wait = not received, False
            *lines, self._unread = (self._unread + received).split(b"\n")
            for event, number, value in map(bytes.split, lines):
                (self.started if event == b"started" else self.ended)[int(number)] = int(value)

    def close(self) -> None:
        """End the server, and with it all jobs that still run."""
        with contextlib.suppress(OSError):
            os.close(self._alive)
        self._process.communicate()

    def _send(self, request: tuple) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `read_replies` finds out that the server has died
            self._process.stdin.write(pickle.dumps(request))


class JobProcess:
    """A job's process, which starts at once.

    Args:
        server: what starts it.
        number: the job's number, which no other job of this server has.
        log_file: receives the job's output.
        job: the arguments of `_child._run`.
    """

    def __init__(self, server: ForkServer, number: int, log_file: Path, *job: bytes | str) -> None:
        self._server, self._number = server, number
        self._pid = server.start(number, log_file, *job)

    @property
    def exit_code(self) -> int | None:
        """How the process ended, negative after a signal; None while it runs. If the server has died, it is killed."""
        self._server.read_replies()
        if self._server.dead and self._number not in self._server.ended:
            self._signal(signal.SIGKILL)
            self._server.ended[self._number] = -signal.SIGKILL
        return self._server.ended.get(self._number)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, at which the job saves a checkpoint and ends."""
        self._signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until the process has ended."""
        while self.exit_code is None:
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """Kill the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        if self._pid is not None and self._number not in self._server.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signum)
