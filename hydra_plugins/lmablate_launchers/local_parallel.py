"""`hydra/launcher=local_parallel`: N jobs at a time, each in a process of its own."""

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

from lmablate.machine import THREAD_VARIABLES, available_cores
from lmablate.runs.stop_signal import StopFlag

from . import _child
from ._sweep import HydraJob, LaunchError, Outcome, SweepLauncher, read_result

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05


class LocalParallelLauncher(SweepLauncher):
    """Run a sweep on this machine, several jobs at a time.

    Plain subprocesses, not a process pool: a pool breaks as a whole when one worker is killed. Here a job
    that is killed, or ends in a segmentation fault, is one failed job, and the others go on.

    Ctrl-C, SIGTERM and SIGHUP are passed on as SIGTERM, and the jobs have time to save a checkpoint; a second
    Ctrl-C kills them. Each job's output is in `<sweep folder>/logs/<number>.log`.

    Args:
        n_jobs: jobs at a time; by default as many as the cores available allow.
        threads_per_job: numerical threads of each job. It is no function of the number of jobs, because the
            order of a floating-point sum, and so a run's last bits, depend on it.

    Raises:
        LaunchError: for a count below 1.
    """

    def __init__(self, n_jobs: int | None = None, threads_per_job: int = 1) -> None:
        for key, count in (("n_jobs", n_jobs), ("threads_per_job", threads_per_job)):
            if count is not None and not (isinstance(count, int) and count >= 1):
                raise LaunchError(f"hydra.launcher.{key} is {count!r}, and must be a whole number from 1")
        self.threads_per_job = threads_per_job
        self.n_jobs = n_jobs or max(1, available_cores() // threads_per_job)

    def run(self, jobs: Sequence[HydraJob]) -> Sequence[Outcome]:
        log.info("%d jobs, %d at a time, threads each: %d", len(jobs), self.n_jobs, self.threads_per_job)
        logs = self.sweep_dir / "logs"
        logs.mkdir(exist_ok=True)
        self.record((job, str(job.number), logs / f"{job.number}.log") for job in jobs)
        with tempfile.TemporaryDirectory() as results:
            outcomes = self._run_all(jobs, logs, Path(results))
        return [outcomes[job.number] for job in jobs]

    def _run_all(self, jobs: Sequence[HydraJob], logs: Path, results: Path) -> dict[int, Outcome]:
        waiting = deque(jobs)
        running: list[Child] = []
        outcomes: dict[int, Outcome] = {}
        with StopFlag() as stop:
            try:
                while waiting or running:
                    if stop.requested:
                        _stop(running, stop.reason)
                        stop.exit_after_signal()
                    while waiting and len(running) < self.n_jobs:
                        running.append(Child(waiting.popleft(), logs, results, self.threads_per_job))
                    time.sleep(POLL_SECONDS)
                    for child in [child for child in running if child.ended()]:
                        running.remove(child)
                        outcomes[child.job.number] = child.outcome()
            finally:
                for child in running:
                    child.process.kill()
        return outcomes


class Child:
    """A job in its own process, from start to outcome."""

    def __init__(self, job: HydraJob, logs: Path, results: Path, threads: int) -> None:
        self.job = job
        self.log_file = logs / f"{job.number}.log"
        self.result_file = results / f"{job.number}.pkl"
        self.started = time.monotonic()
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", _child.__file__],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
                start_new_session=True,  # else the terminal sends Ctrl-C to the job as well as to us
            )
        self._send()
        log.info("%s: started", job.label)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def outcome(self) -> Outcome:
        seconds = time.monotonic() - self.started
        result = read_result(self.result_file)
        if result is None or isinstance(result, str):
            failure = f"{result or _exit_reason(self.process.returncode)} (log: {self.log_file})"
            log.error("%s: failed after %.0f s: %s", self.job.label, seconds, failure)
            return Outcome(self.job, failure=failure)
        log.info("%s: done in %.0f s", self.job.label, seconds)
        return Outcome(self.job, result)

    def _send(self) -> None:
        import cloudpickle  # here, because Hydra imports this module whatever the launcher

        assert self.process.stdin is not None
        message = (sys.path, cloudpickle.dumps(self.job), str(self.job.number), str(self.result_file))
        with contextlib.suppress(BrokenPipeError):  # a child that died at birth is reported by its exit code
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()


def _stop(running: Sequence[Child], reason: str | None) -> None:
    log.info("%s: waiting for %d jobs to save and stop; Ctrl-C kills them at once", reason, len(running))
    for child in running:
        child.process.terminate()
    for child in running:
        child.process.wait()


def _exit_reason(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "killed by SIGKILL, perhaps for want of memory"
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode} and no result"
