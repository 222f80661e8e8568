"""`hydra/launcher=slurm`: a sweep as a SLURM job array, submitted through submitit.

hydra-submitit-launcher has these defects, and no setting removes them:

- It waits for `sacct`. Without an accounting database, it waits for a cancelled job forever.
- It looks at rank 0 only. If only rank 1 raises, the sweep succeeds.
- It returns a failure as a result, so SLURM shows COMPLETED for a job that raised.
- The exception of the first failed job hides the outcomes of the other jobs.
- It cannot submit jobs without waiting for them.

So this launcher uses submitit only to pickle the jobs, to submit arrays, and to requeue a job that is asked to stop; it
waits for the jobs itself.
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

from lmablate.errors import counted
from lmablate.machine import THREAD_VARIABLES
from lmablate.runs import slurm
from lmablate.runs.stop_signal import Preempted

from ._sweep import HydraJob, LaunchError, Outcome, SweepLauncher, read_result

log = logging.getLogger(__name__)

# Seconds to wait for the result file of a job that has ended: NFS caches the content of a folder for some seconds.
_RESULT_GRACE_S = 10.0

# SLURM holds a job that a node could not start, and mostly drains that node; released, the job starts on another. More
# tries than these would hide a fault of the cluster.
_MAX_RELEASES = 3

# Parameters that submitit names alike for all its executors; all others get the prefix "slurm_".
_COMMON_PARAMETERS = {
    "name", "timeout_min", "mem_gb", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "stderr_to_stdout",
}  # fmt: skip

# submitit installs its handler of SIGUSR2 only after its imports, which take seconds. Until then, the signal would kill
# the job, and a job that dies by itself is not requeued. So the job starts with the signal ignored, and SLURM itself
# requeues it.
_PYTHON = f"""sh -c 'trap "" USR2; exec "$@"' sh {shlex.quote(sys.executable)}"""


class SlurmLauncher(SweepLauncher):
    """Submit a sweep as one job array and, unless detached, wait for all its jobs.

    Jobs are requeued, and so resumed from their checkpoints, after a node failure, preemption, and the time limit. They
    do not depend on this process: Ctrl-C, a closed terminal, and even SIGKILL leave them running.

    Args:
        submitit_folder: folder of submitit's pickles and logs, which every node must see; "%j" is the job's id.
        detach: return after submission, without results.
        poll_seconds: seconds between two queries to SLURM.
        max_num_timeout: number of times that a job may be requeued after its time limit. submitit counts a preemption
            as a timeout if `timeout_min` is 10 or less.
        setup: shell lines to run in the job before Python starts.
        cpus_per_task: cores of each process, and threads of its numerical libraries.
        additional_parameters: options of sbatch, by their long names.
        **resources: all other parameters of submitit: partition, timeout_min, mem_gb, gpus_per_node, ...
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
            # A rank that fails ends all ranks; they would otherwise wait for it in the next all-reduce.
            "srun_args": ["--kill-on-bad-exit=1"],
        }
        self.parameters = {
            key if key in _COMMON_PARAMETERS else f"slurm_{key}": _plain(value) for key, value in parameters.items()
        }

    def run(self, jobs: Sequence[HydraJob]) -> Sequence[Outcome]:
        """Submit the jobs and wait for them; if detached, return an empty list at once.

        Raises:
            LaunchError: if SLURM is not installed, or if sbatch refuses the jobs.
        """
        submissions = self._submit(jobs)
        self.list_jobs((s.job, s.job_id, s.log_file) for s in submissions)
        first, last = submissions[0].job_id, submissions[-1].job_id
        log.info(
            "%s submitted, %s to %s; their list and logs are in %s",
            counted(len(jobs), "job"),
            first,
            last,
            self.sweep_dir,
        )
        if self.detach:
            return []
        try:
            return self._wait(submissions)
        except KeyboardInterrupt:
            log.info("detached: the jobs continue; to see them: python -m lmablate.status with the same overrides")
            raise SystemExit(128 + signal.SIGINT) from None

    def _submit(self, jobs: Sequence[HydraJob]) -> list["Submission"]:
        import submitit  # here, because Hydra imports this module for every launcher
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        if not shutil.which("sbatch"):
            raise LaunchError("hydra/launcher=slurm needs SLURM, but sbatch is not on the PATH")
        executor = submitit.AutoExecutor(
            self.submitit_folder,
            cluster="slurm",
            slurm_max_num_timeout=self.max_num_timeout,
            slurm_python=_PYTHON,
        )
        try:
            executor.update_parameters(**self.parameters)
            submitted = executor.submit_array([RequeuedJob(job) for job in jobs])
        except (FailedJobError, FailedSubmissionError, ValueError) as error:
            raise LaunchError(f"the jobs cannot be submitted with these settings of hydra.launcher: {error}") from error
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
                    if outcome := submission.update(known.get(submission.job_id)):
                        outcomes[submission.job_id] = outcome
            except slurm.SlurmUnreachable as error:
                log.warning("SLURM does not answer (%s); the jobs may still be running; asking again", error)
        return [outcomes[s.job_id] for s in submissions]


@dataclass(frozen=True)
class RequeuedJob:
    """The callable that submitit runs on the node. After a requeue it is called again, and the run resumes.

    Attributes:
        job: the job.
    """

    job: HydraJob

    def __call__(self) -> JobReturn:
        """Run the job in the process of one rank."""
        import submitit

        logging.getLogger("submitit").propagate = False  # it has a handler of its own
        environment = submitit.JobEnvironment()
        environment.paths.result_pickle.unlink(missing_ok=True)  # from an earlier attempt
        _raise_preempted_at_requeue()
        try:
            return self.job(environment.job_id)
        except Preempted as stop:
            if environment.global_rank > 0:
                # Rank 0 may still be saving or requeueing, and srun ends all ranks at the first that fails.
                raise SystemExit(0) from None
            if stop.signum == signal.SIGTERM and slurm.is_being_preempted(environment.job_id):
                # If preempt_send_user_signal is off, SLURM requeues a preempted job that it has to kill, but counts
                # one that obeys its SIGTERM as ended. Other SIGTERMs come from scancel, from a requeue that has
                # begun already, and from srun when another rank has failed.
                slurm.requeue(environment.job_id)
            raise

    def checkpoint(self) -> Any:
        """Return what submitit is to run after it has requeued the job; submitit calls this."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _raise_preempted_at_requeue() -> None:
    """Let submitit's signal handler raise Preempted where it calls sys.exit(), which a task may call as well."""
    import submitit

    signum = submitit.JobEnvironment()._usr_sig()
    requeue = signal.getsignal(signum)
    assert callable(requeue), "submitit has not set its signal handler"

    def handler(signum: int, frame: FrameType | None) -> None:
        try:
            requeue(signum, frame)
        except SystemExit:
            raise Preempted(signum) from None

    signal.signal(signum, handler)


@dataclass
class Submission:
    """A submitted job.

    Attributes:
        job: the job.
        job_id: SLURM's id.
        folder: folder of submitit's pickles and logs.
        ranks: number of its processes.
    """

    job: HydraJob
    job_id: str
    folder: Path
    ranks: int
    _last_seen: float = field(default_factory=time.monotonic)
    _last_message: str = ""
    _releases: int = 0

    @property
    def log_file(self) -> Path:
        """The log file of rank 0."""
        return self._paths(rank=0).stdout

    def update(self, queued: slurm.QueuedJob | None) -> Outcome | None:
        """Log what has changed, and return the outcome of the job if it has ended.

        Args:
            queued: the job as SLURM's controller sees it; None if the controller does not know it any more.
        """
        if queued and not queued.ended:
            self._last_seen = time.monotonic()
            if queued.launch_failed:
                self._release()
            else:
                self._log_change(str(queued))
            return None
        results = [read_result(self._paths(rank).result_pickle) for rank in range(self.ranks)]
        raised = any(isinstance(result, str) for result in results)
        if None in results and not raised and time.monotonic() - self._last_seen < _RESULT_GRACE_S:
            return None
        outcome = self._outcome(results)
        if outcome.failure:
            self._log_change(f"failed: {outcome.failure}", logging.ERROR)
        else:
            self._log_change("done")
        return outcome

    def _release(self) -> None:
        """Let the job go that SLURM holds because its node could not start it, but not forever."""
        if self._releases == _MAX_RELEASES:
            self._log_change(
                f"held: no node could start it; to try again: scontrol release {self.job_id}", logging.WARNING
            )
            return
        self._releases += 1  # first: a release that SLURM refuses is a try as well
        slurm.release(self.job_id)
        self._log_change(
            f"its node could not start it: released (try {self._releases} of {_MAX_RELEASES})", logging.WARNING
        )

    def _outcome(self, results: Sequence[JobReturn | str | None]) -> Outcome:
        """Return success if every rank succeeded, else the first error: the later ones follow from it.

        Args:
            results: of each rank, as `read_result` returns them.
        """
        successes = [result for result in results if isinstance(result, JobReturn)]
        if len(successes) == self.ranks:
            return Outcome(self.job, successes[0])
        errors = {rank: result for rank, result in enumerate(results) if isinstance(result, str)}
        if errors:
            first = min(errors, key=lambda rank: self._paths(rank).result_pickle.stat().st_mtime)
            return Outcome(self.job, failure=self._with_log(errors[first], first))
        lost = f"lost, {slurm.end_reason(self.job_id)}"
        return Outcome(self.job, failure=self._with_log(lost, results.index(None)))

    def _with_log(self, failure: str, rank: int) -> str:
        """Return the failure with its rank, if there are several, and with the rank's log file."""
        where = f"rank {rank}: " if self.ranks > 1 else ""
        return f"{where}{failure} (log: {self._paths(rank).stdout})"

    def _log_change(self, message: str, level: int = logging.INFO) -> None:
        if message != self._last_message:
            log.log(level, "%s [%s]: %s", self.job.label, self.job_id, message)
            self._last_message = message

    def _paths(self, rank: int) -> Any:
        from submitit.core.utils import JobPaths

        return JobPaths(self.folder, self.job_id, rank)


def _thread_setup(cpus_per_task: int) -> list[str]:
    """Return shell lines that set the cores of each process, and the threads of its numerical libraries."""
    # Since SLURM 22.05, srun does not inherit --cpus-per-task from sbatch; it reads SRUN_CPUS_PER_TASK.
    return [f"export {variable}={cpus_per_task}" for variable in ("SRUN_CPUS_PER_TASK", *THREAD_VARIABLES)]


def _plain(value: Any) -> Any:
    """Turn OmegaConf's lists and dictionaries, which Hydra hands over, into Python's, which submitit needs."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
