"""`hydra/launcher=slurm`: a sweep as a SLURM job array, submitted through submitit.

Why not hydra-submitit-launcher itself: it cannot be made honest by configuration.

- It waits for `sacct`; without an accounting database a cancelled job makes it wait for ever.
- It looks at rank 0 alone: where only rank 1 raises, the sweep succeeds.
- It returns a failure as a result, so that SLURM shows COMPLETED for a job that raised.
- The first failed job's exception hides what became of the others.
- Nothing can be submitted and left alone.

So submitit does what it does well, which is to pickle, to submit arrays, and to requeue a job that is told to
stop, and this launcher adds the waiting.
"""

import logging
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from lmablate.machine import THREAD_VARIABLES
from lmablate.runs import slurm
from lmablate.runs.stop_signal import Preempted

from ._sweep import HydraJob, LaunchError, Outcome, SweepLauncher, read_result

log = logging.getLogger(__name__)

# A result may reach us after SLURM's word that the job has ended: NFS caches what it knows for seconds.
RESULT_GRACE_S = 10.0

# What submitit calls the same for all its executors; the rest it wants with the prefix "slurm_".
COMMON_PARAMETERS = {
    *("name", "timeout_min", "mem_gb", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"),
    "stderr_to_stdout",
}

# submitit listens to SIGUSR2 only after its imports, which take seconds; before, the signal would kill the
# job, and a job that dies by itself is not requeued. So it begins deaf, and SLURM itself requeues it.
PYTHON = f"""sh -c 'trap "" USR2; exec "$@"' sh {shlex.quote(sys.executable)}"""


class SlurmLauncher(SweepLauncher):
    """Submit a sweep as one job array and, unless detached, wait for all its jobs.

    Jobs are requeued, and so resumed from their checkpoints, after a node failure, preemption and the time
    limit. They never depend on this process: Ctrl-C, a closed terminal, even SIGKILL leave them running.

    Args:
        submitit_folder: where submitit keeps pickles and logs; every node must see it; "%j" is the job's id.
        detach: return after submission, with no results.
        poll_seconds: time between two questions to SLURM.
        max_num_timeout: how often a job may be requeued after its time limit. Submitit counts a preemption
            as a timeout, too, when `timeout_min` is 10 or less.
        setup: shell lines run in the job before Python starts.
        cpus_per_task: cores of each process, and threads of its numerical libraries.
        additional_parameters: options of sbatch by their long names.
        resources: everything else that submitit knows: partition, timeout_min, mem_gb, gpus_per_node, ...

    Raises:
        LaunchError: where there is no SLURM, or sbatch refuses the jobs.
    """

    def __init__(
        self,
        submitit_folder: str,
        detach: bool = False,
        poll_seconds: float = 5.0,
        max_num_timeout: int = 100_000,
        setup: Sequence[str] = (),
        cpus_per_task: int = 1,
        additional_parameters: dict[str, Any] | None = None,
        **resources: Any,
    ) -> None:
        self.submitit_folder = submitit_folder
        self.detach = detach
        self.poll_seconds = poll_seconds
        self.max_num_timeout = max_num_timeout
        parameters = {
            **{key: value for key, value in resources.items() if value is not None},
            "cpus_per_task": cpus_per_task,
            "setup": [*_thread_setup(cpus_per_task), *(setup or ())],
            "additional_parameters": {"requeue": True, **(additional_parameters or {})},
            # A rank that fails takes the others with it; they would wait for it in the next all-reduce.
            "srun_args": ["--kill-on-bad-exit=1"],
        }
        self.parameters = {
            key if key in COMMON_PARAMETERS else f"slurm_{key}": _plain(value) for key, value in parameters.items()
        }

    def run(self, jobs: Sequence[HydraJob]) -> Sequence[Outcome]:
        submissions = self._submit(jobs)
        self.record((s.job, s.job_id, s.log_file) for s in submissions)
        first, last = submissions[0].job_id, submissions[-1].job_id
        log.info("%d jobs submitted, %s to %s; their list and logs: %s", len(jobs), first, last, self.sweep_dir)
        if self.detach:
            return []
        try:
            return self._wait(submissions)
        except KeyboardInterrupt:
            log.info("detached: the jobs go on; see them with: python -m lmablate.status %s", self.sweep_dir)
            raise SystemExit(128 + signal.SIGINT) from None

    def _submit(self, jobs: Sequence[HydraJob]) -> list["Submission"]:
        import submitit  # here, because Hydra imports this module whatever the launcher
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        if not shutil.which("sbatch"):
            raise LaunchError("hydra/launcher=slurm needs SLURM, and there is no sbatch on the PATH")
        executor = submitit.AutoExecutor(
            self.submitit_folder,
            cluster="slurm",
            slurm_max_num_timeout=self.max_num_timeout,
            slurm_python=PYTHON,
        )
        try:
            executor.update_parameters(**self.parameters)
            submitted = executor.submit_array([RequeuedJob(job) for job in jobs])
        except (FailedJobError, FailedSubmissionError, ValueError) as error:
            raise LaunchError(f"the jobs cannot be submitted as hydra.launcher says: {error}") from error
        return [
            Submission(job, slurm_job.job_id, Path(self.submitit_folder).absolute(), slurm_job.num_tasks)
            for job, slurm_job in zip(jobs, submitted, strict=True)
        ]

    def _wait(self, submissions: Sequence["Submission"]) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {}
        while waiting := [s for s in submissions if s.job_id not in outcomes]:
            time.sleep(self.poll_seconds)
            try:
                known = slurm.query_jobs(s.job_id for s in waiting)
                for submission in waiting:
                    if outcome := submission.follow(known.get(submission.job_id)):
                        outcomes[submission.job_id] = outcome
            except slurm.SlurmUnreachable as error:
                log.warning("SLURM does not answer (%s); the jobs may well go on; asking again", error)
        return [outcomes[s.job_id] for s in submissions]


@dataclass(frozen=True)
class RequeuedJob:
    """What submitit runs on the node; requeued, it runs again from the start, and the run itself resumes."""

    job: HydraJob

    def __call__(self) -> JobReturn:
        import submitit

        logging.getLogger("submitit").propagate = False  # it has a handler of its own
        environment = submitit.JobEnvironment()
        environment.paths.result_pickle.unlink(missing_ok=True)  # of an attempt before this one
        _leave_as_preempted()
        try:
            return self.job(environment.job_id)
        except Preempted as stop:
            if environment.global_rank > 0:
                # Rank 0 may still be saving or requeueing, and srun ends all ranks at the first that fails.
                raise SystemExit(0) from None
            if stop.signum == signal.SIGTERM and slurm.is_being_preempted(environment.job_id):
                # Where preempt_send_user_signal is off, SLURM requeues a job that it has to kill, but takes
                # one that obeys its SIGTERM for one that ended. Other SIGTERMs come from scancel, from a
                # requeue that is under way, and from srun when another rank has failed.
                slurm.requeue(environment.job_id)
            raise

    def checkpoint(self) -> Any:
        """Called by submitit before it requeues the job."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _leave_as_preempted() -> None:
    """Tell submitit's way out, a sys.exit() in its signal handler, from a task's own sys.exit()."""
    import submitit

    signum = submitit.JobEnvironment()._usr_sig()
    requeue = signal.getsignal(signum)
    assert callable(requeue), "submitit has not set its signal handler"

    def leave(signum: int, frame: FrameType | None) -> None:
        try:
            requeue(signum, frame)
        except SystemExit:
            raise Preempted(signum) from None

    signal.signal(signum, leave)


@dataclass
class Submission:
    """A job in SLURM's hands, from its submission to its outcome."""

    job: HydraJob
    job_id: str
    folder: Path
    ranks: int
    _last_seen: float = field(default_factory=time.monotonic)
    _last_news: str = ""

    @property
    def log_file(self) -> Path:
        return self._paths(rank=0).stdout

    def follow(self, queued: slurm.QueuedJob | None) -> Outcome | None:
        """Take note of what SLURM says; the outcome once there is one, and a line in the log for news."""
        if queued and not queued.ended:
            self._last_seen = time.monotonic()
            self._tell(str(queued))
            return None
        results = [read_result(self._paths(rank).result_pickle) for rank in range(self.ranks)]
        raised = any(isinstance(result, str) for result in results)
        if None in results and not raised and time.monotonic() - self._last_seen < RESULT_GRACE_S:
            return None
        outcome = self._judge(results)
        if outcome.failure:
            self._tell(f"failed: {outcome.failure}", logging.ERROR)
        else:
            self._tell("done")
        return outcome

    def _judge(self, results: Sequence[JobReturn | str | None]) -> Outcome:
        """Every rank must have succeeded. The first error is the cause; others follow from lost peers."""
        successes = [result for result in results if isinstance(result, JobReturn)]
        if len(successes) == self.ranks:
            return Outcome(self.job, successes[0])
        errors = {rank: result for rank, result in enumerate(results) if isinstance(result, str)}
        if errors:
            first = min(errors, key=lambda rank: self._paths(rank).result_pickle.stat().st_mtime)
            return Outcome(self.job, failure=self._locate(errors[first], first))
        lost = f"lost, {slurm.end_reason(self.job_id)}"
        return Outcome(self.job, failure=self._locate(lost, results.index(None)))

    def _locate(self, failure: str, rank: int) -> str:
        where = f"rank {rank}: " if self.ranks > 1 else ""
        return f"{where}{failure} (log: {self._paths(rank).stdout})"

    def _tell(self, news: str, level: int = logging.INFO) -> None:
        if news != self._last_news:
            log.log(level, "%s [%s]: %s", self.job.label, self.job_id, news)
            self._last_news = news

    def _paths(self, rank: int) -> Any:
        from submitit.core.utils import JobPaths

        return JobPaths(self.folder, self.job_id, rank)


def _thread_setup(cpus_per_task: int) -> list[str]:
    """Since SLURM 22.05 srun no longer takes --cpus-per-task over from sbatch, only from this variable."""
    return [f"export {variable}={cpus_per_task}" for variable in ("SRUN_CPUS_PER_TASK", *THREAD_VARIABLES)]


def _plain(value: Any) -> Any:
    """Hydra hands over lists and dictionaries of its own kind; submitit wants Python's."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
