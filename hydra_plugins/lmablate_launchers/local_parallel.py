"""`hydra/launcher=local_parallel`: several jobs at a time, each in its own process."""

import inspect
import logging
import signal
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from lmablate.errors import counted
from lmablate.machine import available_cores
from lmablate.runs.stop_signal import StopFlag

from ._fork_server import ForkServer, JobProcess
from ._sweep import HydraJob, LaunchError, Outcome, SweepLauncher, read_result

log = logging.getLogger(__name__)

# Time between two looks at the running jobs.
_POLL_SECONDS = 0.05
# What a run imports when it has begun: over a second of each run, if it were not imported once for all.
_LATE_MODULES = ("wandb", "wandb.sdk.launch.inputs.internal", "requests")

# How the lines of a job's log begin that the launcher shows at once.
RELAYED = "run "


class LocalParallelLauncher(SweepLauncher):
    """Run a sweep on this machine, several jobs at a time.

    Each job has a process of its own, forked from one that has imported all that jobs need and does nothing else. A
    process pool would break as a whole when one worker is killed; here, a job that is killed, or ends in a segmentation
    fault, is one failed job, and the other jobs continue.

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
        running: list[_RunningJob] = []
        outcomes: dict[int, Outcome] = {}
        server = None
        with StopFlag() as stop:
            try:
                while waiting or running:
                    if stop.requested:
                        _stop(running, stop.reason)
                        stop.exit_after_signal()
                    while waiting and len(running) < self.n_jobs:
                        if server is None or server.dead:
                            server = ForkServer(_modules(waiting[0]), self.threads_per_job)
                        running.append(_RunningJob(server, waiting.popleft(), logs, results))
                    time.sleep(_POLL_SECONDS)
                    for job in running:
                        job.relay_news()
                    for ended in [job for job in running if job.process.exit_code is not None]:
                        running.remove(ended)
                        outcomes[ended.job.number] = ended.outcome()
            finally:
                for job in running:
                    job.process.kill()
                if server is not None:
                    server.close()
        return outcomes


def _modules(job: HydraJob) -> list[str]:
    """Return the modules that jobs like this one import: the task's, and wandb, which training imports late."""
    task = inspect.unwrap(job.task_function).__module__
    return ["cloudpickle", *([] if task == "__main__" else [task]), *_LATE_MODULES]


class _RunningJob:
    """A job and its process, which starts at once."""

    def __init__(self, server: ForkServer, job: HydraJob, logs: Path, results: Path) -> None:
        import cloudpickle  # here, because Hydra imports this module for every launcher

        self.job = job
        self._log_file = logs / f"{job.number}.log"
        self._result_file = results / f"{job.number}.pkl"
        self._started = time.monotonic()
        self._log_file.touch()
        self._relayed = self._log_file.stat().st_size
        call = (cloudpickle.dumps(job), str(job.number), str(self._result_file))
        self.process = JobProcess(server, job.number, self._log_file, *call)

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

    def outcome(self) -> Outcome:
        """Return the outcome of the ended process, and log it."""
        seconds = time.monotonic() - self._started
        self.relay_news()
        result = read_result(self._result_file)
        if result is None or isinstance(result, str):
            failure = f"{result or _exit_reason(self.process.exit_code or 0)} (log: {self._log_file})"
            log.error("%s: failed after %.0f s: %s", self.job.label, seconds, failure)
            return Outcome(self.job, failure=failure)
        log.info("%s: done in %.0f s", self.job.label, seconds)
        return Outcome(self.job, result)


def _stop(running: Sequence[_RunningJob], reason: str | None) -> None:
    log.info("%s: waiting for %s to save and stop; Ctrl-C kills at once", reason, counted(len(running), "job"))
    for job in running:
        job.process.ask_to_stop()
    for job in running:
        job.process.wait()


def _exit_reason(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "killed by SIGKILL, perhaps because memory ran out"
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode} and no result"
