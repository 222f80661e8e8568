"""Run what is wanted, several at a time, and return how it ended."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from lmablate.errors import UserError, counted, duration
from lmablate.referee.ledger import Ledger, Outcome, Request, RunReading, State
from lmablate.runs import slurm

_POLL_S = 0.05
# Seconds that supervisors have to end what they supervise.
_PATIENCE_S = 20.0
# A supervisor imports our package, and no module of the folder that is current.
_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from lmablate.referee.supervise import supervise; "
    "supervise(sys.argv[1])"
)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _supervisor_command(folder: Path) -> list[str]:
    """Return the command that runs what a folder describes."""
    return [sys.executable, "-P", "-c", _PROGRAM, str(folder)]


class Launcher(ABC):
    """Starts runs, and knows which of them go on."""

    @abstractmethod
    def start(self, folder: Path) -> None:
        """Start the run of a folder, which may be going on already."""

    @abstractmethod
    def ended(self, folder: Path) -> str | None:
        """Return None while a run that was started goes on, and then why it has no result, should it have none."""

    @abstractmethod
    def stop(self) -> None:
        """End all that was started and still goes on."""


class LocalLauncher(Launcher):
    """Starts runs on this machine."""

    def __init__(self) -> None:
        self._running: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, folder: Path) -> None:
        """Start a supervisor in a session of its own, so that Ctrl-C reaches it only through us."""
        self._running = {other: process for other, process in self._running.items() if process.poll() is None}
        with (folder / "supervisor.txt").open("wb") as log:
            self._running[folder] = subprocess.Popen(
                _supervisor_command(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self, folder: Path) -> str | None:
        """Return None while the supervisor lives."""
        code = self._running[folder].poll() if folder in self._running else 0
        if code is None:
            return None
        words = (folder / "supervisor.txt").read_text(errors="replace").strip().splitlines()
        return f"its supervisor ended with {code}" + (f": {words[-1]}" if words else "")

    def stop(self) -> None:
        """Send SIGTERM to the supervisors, which end their commands, and wait for them."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)


class SlurmLauncher(Launcher):
    """Submits each run as a job, with submitit, as sweeps are.

    Ctrl-C leaves the jobs in the queue; the same command then waits for them.

    Args:
        parameters: those of submitit's AutoExecutor, such as slurm_partition and timeout_min.

    Raises:
        UserError: if SLURM is not installed.
    """

    def __init__(self, parameters: Mapping[str, str | int]) -> None:
        if not slurm.available():
            raise UserError("launcher=slurm needs SLURM, but its commands are not on the PATH: choose launcher=local.")
        self._parameters = dict(parameters)
        self._jobs: dict[Path, str] = {}
        self._asked = 0.0
        self._known: dict[str, slurm.QueuedJob] = {}

    def start(self, folder: Path) -> None:
        """Submit a job, unless one is in the queue."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        record = folder / "slurm.txt"
        if record.exists():
            self._jobs[folder] = record.read_text().strip()
            with suppress(slurm.SlurmUnreachable):
                job = slurm.query_jobs([self._jobs[folder]]).get(self._jobs[folder])
                if job and not job.ended:
                    return
        executor = submitit.AutoExecutor(folder / "slurm", cluster="slurm")
        try:
            executor.update_parameters(**self._parameters)
            task = submitit.helpers.CommandFunction(_supervisor_command(folder), verbose=False)
            job_id = executor.submit(task).job_id
        except (FailedSubmissionError, FailedJobError, ValueError) as error:
            raise UserError(f"slurm={self._parameters}: the job cannot be submitted: {error}.") from None
        self._jobs[folder] = job_id
        record.write_text(job_id)

    def ended(self, folder: Path) -> str | None:
        """Return None while the job is in the queue, as seen at most every few seconds."""
        if time.monotonic() - self._asked > 2:
            with suppress(slurm.SlurmUnreachable):
                self._known = slurm.query_jobs(self._jobs.values())
                self._asked = time.monotonic()
        job_id = self._jobs[folder]
        job = self._known.get(job_id)
        if job and not job.ended:
            return None
        if not job and time.monotonic() - self._asked < 2:
            return None
        del self._jobs[folder]
        try:
            return f"SLURM job {job_id} ended: {slurm.end_reason(job_id)}"
        except slurm.SlurmUnreachable as error:
            return f"SLURM job {job_id} is lost: {error}"

    def stop(self) -> None:
        """Leave the jobs where they are."""


class _Stopped(BaseException):
    """A signal asks the judge to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _StopSignals:
    """Turns the signals that ask to stop into `_Stopped` during a `with` block."""

    def __enter__(self) -> Self:
        self._previous = {
            signum: signal.signal(signum, self._stop)
            for signum in _STOP_SIGNALS
            if signal.getsignal(signum) is not signal.SIG_IGN
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @staticmethod
    def _stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise _Stopped(signum)


class RunPool:
    """Runs requests through a launcher, `jobs` at a time.

    Args:
        ledger: where the runs are.
        reading: what is read from each run.
        launcher: what starts them.
        jobs: how many may run at the same time.
        say: called with one line for each thing that happens.
    """

    def __init__(
        self, ledger: Ledger, reading: RunReading, launcher: Launcher, jobs: int, say: Callable[[str], None]
    ) -> None:
        self.ledger, self.reading, self.say = ledger, reading, say
        self._launcher, self._jobs = launcher, jobs
        self._tried: set[Path] = set()
        self.started = 0

    def run(self, requests: Iterable[Request]) -> dict[Request, Outcome]:
        """Return how each run ended, after running those that have not been run.

        A run that failed before this process began is tried once again. After a failure no further run begins, since
        what is asked for cannot be answered; the runs that have not begun are missing in the answer.

        Raises:
            SystemExit: if a signal asks to stop, after what runs has been ended; what is done is kept.
        """
        wanted = list(dict.fromkeys(requests))
        done: dict[Request, Outcome] = {}
        waiting: list[Request] = []
        for request in wanted:
            outcome = self.ledger.outcome(request, self.reading)
            folder = self.ledger.folder(request)
            if outcome and (not outcome.worth_another_try or folder in self._tried):
                done[request] = outcome
                continue
            if outcome:
                self.ledger.set_aside_failure(folder)
            waiting.append(request)
        if waiting and not _any_failed(done):
            try:
                with _StopSignals():
                    self._work_off(waiting, done)
            except _Stopped as stop:
                self._launcher.stop()
                kept = counted(sum(outcome.state != State.FAILED for outcome in done.values()), "run")
                self.say(f"stopped: {kept} of {len(wanted)} kept; the same command goes on from there.")
                raise SystemExit(128 + stop.signum) from None
            except BaseException:
                self._launcher.stop()
                raise
        return {request: done[request] for request in wanted if request in done}

    def _work_off(self, waiting: Sequence[Request], done: dict[Request, Outcome]) -> None:
        queue, running = [*waiting], dict[Request, Path]()
        while queue or running:
            while queue and len(running) < self._jobs:
                request = queue.pop(0)
                folder = self.ledger.prepare(request, self.reading.own)
                self._tried.add(folder)
                self._launcher.start(folder)
                running[request] = folder
            time.sleep(_POLL_S)
            for request, folder in [*running.items()]:
                lost = self._launcher.ended(folder)
                outcome = self.ledger.outcome(request, self.reading)
                if outcome is None and lost is not None:
                    outcome = Outcome(State.FAILED, float("nan"), 0.0, folder, lost, ran=False)
                if outcome is not None:
                    del running[request]
                    done[request] = outcome
                    self.started += 1
                    if outcome.state == State.FAILED:
                        queue.clear()
                    shown = f"{outcome.value:.6g}" if outcome.state == State.DONE else outcome.reason or outcome.state
                    self.say(f"{request}: {shown} ({duration(outcome.seconds)})")


def _any_failed(outcomes: Mapping[Request, Outcome]) -> bool:
    return any(outcome.state == State.FAILED for outcome in outcomes.values())


def stderr_line(text: str) -> None:
    """Print one line about the progress."""
    with suppress(BrokenPipeError):
        os.write(2, f"{text}\n".encode(errors="replace"))
