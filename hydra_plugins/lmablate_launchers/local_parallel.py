"""`hydra/launcher=local_parallel`: several jobs at a time, each in its own process."""

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from lmablate.errors import counted
from lmablate.machine import THREAD_VARIABLES, available_cores
from lmablate.runs.stop_signal import StopFlag

from . import _child
from ._sweep import HydraJob, LaunchError, Outcome, SweepLauncher, read_result

log = logging.getLogger(__name__)

# Time between two looks at the running jobs.
_POLL_SECONDS = 0.05

# How the lines of a job's log begin that the launcher shows at once.
RELAYED = "run "


class LocalParallelLauncher(SweepLauncher):
    """Run a sweep on this machine, several jobs at a time.

    Jobs are plain subprocesses. A process pool would break as a whole when one worker is killed; here, a job that is
    killed, or ends in a segmentation fault, is one failed job, and the other jobs continue.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the jobs as SIGTERM, and the jobs have time to save a checkpoint; a
    second Ctrl-C kills them. Each job's output is in `<sweep folder>/logs/<number>.log`.

    Args:
        n_jobs: number of jobs at a time; by default the available cores divided by `threads_per_job`.
        threads_per_job: threads of each job's numerical libraries. It does not depend on the number of jobs, because
            the order of a floating-point sum, and so the last bits of a run's result, depend on it.

    Raises:
        LaunchError: if one of them is not an integer of at least 1.
    """

    def __init__(self, n_jobs: int | None = None, threads_per_job: int = 1) -> None:
        for key, count in (("n_jobs", n_jobs), ("threads_per_job", threads_per_job)):
            if count is not None and not (isinstance(count, int) and count >= 1):
                raise LaunchError(f"hydra.launcher.{key}={count!r} is not allowed: it must be an integer of at least 1")
        self.threads_per_job = threads_per_job
        self.n_jobs = n_jobs or max(1, available_cores() // threads_per_job)

    def run(self, jobs: Sequence[HydraJob]) -> Sequence[Outcome]:
        """Run the jobs on this machine, in order, `n_jobs` at a time."""
        threads = counted(self.threads_per_job, "thread")
        log.info("%s, %d at a time, %s per job", counted(len(jobs), "job"), self.n_jobs, threads)
        logs = self.sweep_dir / "logs"
        logs.mkdir(exist_ok=True)
        self.list_jobs((job, str(job.number), logs / f"{job.number}.log") for job in jobs)
        with tempfile.TemporaryDirectory() as results:
            outcomes = self._run_all(jobs, logs, Path(results))
        return [outcomes[job.number] for job in jobs]

    def _run_all(self, jobs: Sequence[HydraJob], logs: Path, results: Path) -> dict[int, Outcome]:
        waiting = deque(jobs)
        running: list[JobProcess] = []
        outcomes: dict[int, Outcome] = {}
        with StopFlag() as stop:
            try:
                while waiting or running:
                    if stop.requested:
                        _stop(running, stop.reason)
                        stop.exit_after_signal()
                    while waiting and len(running) < self.n_jobs:
                        running.append(JobProcess(waiting.popleft(), logs, results, self.threads_per_job))
                    time.sleep(_POLL_SECONDS)
                    for process in running:
                        process.relay_news()
                    for process in [process for process in running if process.has_ended()]:
                        running.remove(process)
                        outcomes[process.job.number] = process.outcome()
            finally:
                for process in running:
                    process.kill()
        return outcomes


class JobProcess:
    """The process of a job, which starts at once.

    Args:
        job: the job.
        logs: folder of the log files.
        results: folder of the result files.
        threads: threads of the process's numerical libraries.
    """

    def __init__(self, job: HydraJob, logs: Path, results: Path, threads: int) -> None:
        self.job = job
        self._log_file = logs / f"{job.number}.log"
        self._result_file = results / f"{job.number}.pkl"
        self._started = time.monotonic()
        self._relayed = self._log_file.stat().st_size if self._log_file.exists() else 0
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-u", _child.__file__],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
                start_new_session=True,  # else the terminal sends Ctrl-C to the job, too
            )
        self._send_job()

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.poll() is not None

    def relay_news(self) -> None:
        """Log the new lines of the job's log that begin with RELAYED, such as whether its run starts or resumes."""
        with self._log_file.open("rb") as file:
            file.seek(self._relayed)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._relayed += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith(RELAYED):
                log.info("%s: %s", self.job.label, line)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, at which the job saves a checkpoint and ends."""
        self._process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()

    def kill(self) -> None:
        """Kill the process at once."""
        self._process.kill()

    def outcome(self) -> Outcome:
        """Return the outcome of the ended process, and log it."""
        seconds = time.monotonic() - self._started
        self.relay_news()
        result = read_result(self._result_file)
        if result is None or isinstance(result, str):
            failure = f"{result or _exit_reason(self._process.returncode)} (log: {self._log_file})"
            log.error("%s: failed after %.0f s: %s", self.job.label, seconds, failure)
            return Outcome(self.job, failure=failure)
        log.info("%s: done in %.0f s", self.job.label, seconds)
        return Outcome(self.job, result)

    def _send_job(self) -> None:
        import cloudpickle  # here, because Hydra imports this module for every launcher

        assert self._process.stdin is not None
        message = (sys.path, cloudpickle.dumps(self.job), str(self.job.number), str(self._result_file))
        with contextlib.suppress(BrokenPipeError):  # the process has died already; its exit code says why
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()


def _stop(running: Sequence[JobProcess], reason: str | None) -> None:
    log.info("%s: waiting for %s to save and stop; Ctrl-C kills at once", reason, counted(len(running), "job"))
    for process in running:
        process.ask_to_stop()
    for process in running:
        process.wait()


def _exit_reason(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "killed by SIGKILL, perhaps because memory ran out"
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode} and no result"
