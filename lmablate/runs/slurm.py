"""Queries to SLURM about jobs, on clusters with and without accounting.

`squeue` and `scontrol` read the controller's memory, which keeps a job for MinJobAge (300 s by default) after its end.
`sacct` remembers longer, but answers only if an accounting database runs. A job id is "12", or "12_3" for the task of
an array.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

# Seconds to wait for an answer. A controller that is being restarted keeps its clients waiting.
TIMEOUT_S = 60

_ENDED_STATES = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED",
    "REVOKED",
}  # fmt: skip

# Reasons that any job may have to wait for; every other reason is worth reporting.
_ROUTINE_REASONS = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Dependency", "Cleaning"}


class SlurmUnreachable(RuntimeError):
    """The controller did not answer, so nothing is known about the jobs."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as the controller sees it.

    Attributes:
        state: state in SLURM's terms, such as "RUNNING".
        reason: reason for waiting, such as "Priority"; "None" if the job does not wait.
        nodes: names of its nodes, such as "n[1-2]"; empty if it has none.
    """

    state: str
    reason: str
    nodes: str

    @property
    def ended(self) -> bool:
        """True if the job has ended: it will not run again unless someone requeues it."""
        return self.state in _ENDED_STATES

    @property
    def launch_failed(self) -> bool:
        """True if SLURM could not start the job on its node, and holds it until someone releases it."""
        return self.state == "PENDING" and self.reason.replace("_", " ") == "launch failed requeued held"

    def __str__(self) -> str:
        match self.state:
            case "RUNNING":
                return f"running on {self.nodes}"
            case "PENDING" if self.reason in _ROUTINE_REASONS:
                return "waiting"
            case "PENDING":
                return f"waiting ({self.reason})"
            case state:
                return state.lower()


def available() -> bool:
    """Return whether the commands of SLURM are installed here."""
    return shutil.which("squeue") is not None


def own_job_id() -> str | None:
    """Return the id of the job that this process belongs to, as `scancel` and `squeue` know it; None outside SLURM.

    For the task of an array, SLURM_JOB_ID holds another number, which `scancel` ignores.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def user_jobs() -> dict[str, str] | None:
    """Return the state of every job in the queue by its id; None if SLURM is not installed or does not answer.

    The task of an array is listed under both of its ids, "12_3" and its own number.
    """
    if not available():
        return None
    try:
        # %i names a pending array 12_[0-7]; --array splits it into one line per task.
        answer = _ask("squeue", "--noheader", "--array", "--format=%i %A %T")
    except (OSError, SlurmUnreachable):
        return None
    rows = [line.split() for line in answer.splitlines()]
    return {job_id: state for *job_ids, state in rows for job_id in job_ids}


def query_jobs(job_ids: Iterable[str]) -> dict[str, QueuedJob]:
    """Return the jobs that the controller knows, by their ids; an ended job is known for some time.

    Args:
        job_ids: jobs to look up; those that the controller does not know are left out of the answer.

    Raises:
        SlurmUnreachable: if the controller does not answer.
    """
    wanted = set(job_ids)
    if not wanted:
        return {}
    arrays = ",".join(sorted({job_id.split("_")[0] for job_id in wanted}))
    answer = _ask("squeue", "--array", "--noheader", "--states=all", "--format=%i|%T|%r|%N", f"--jobs={arrays}")
    jobs = {}
    for line in answer.splitlines():
        job_id, state, reason, nodes = line.strip().split("|", 3)
        jobs[job_id] = QueuedJob(state, reason, nodes)
    return {job_id: job for job_id, job in jobs.items() if job_id in wanted}


def is_being_preempted(job_id: str) -> bool:
    """Return whether the job is running in the grace time before its preemption.

    Raises:
        SlurmUnreachable: if the controller does not answer.
    """
    job = _show(job_id)
    return job.get("JobState") == "RUNNING" and job.get("PreemptTime", "None") != "None"


def requeue(job_id: str) -> None:
    """End the job now, and let it start again later.

    Raises:
        SlurmUnreachable: if the controller does not answer, or refuses.
    """
    _ask("scontrol", "requeue", job_id)


def release(job_id: str) -> None:
    """Let a job that is held start again.

    Raises:
        SlurmUnreachable: if the controller does not answer, or refuses.
    """
    _ask("scontrol", "release", job_id)


def end_reason(job_id: str) -> str:
    """Return why a job ended, such as "CANCELLED" or "FAILED, killed by SIGKILL", as far as SLURM still knows it.

    Raises:
        SlurmUnreachable: if the controller does not answer.
    """
    if job := _show(job_id):
        return describe_end(job["JobState"], job["ExitCode"])
    if shutil.which("sacct"):
        arguments = ("--noheader", "--parsable2", "--allocations", "--format=State,ExitCode")
        with suppress(SlurmUnreachable):  # the accounting database may be down
            if answer := _ask("sacct", *arguments, f"--jobs={job_id}").strip():
                return describe_end(*answer.split("\n")[0].split("|"))
    return "unknown to SLURM by now"


def _show(job_id: str) -> dict[str, str]:
    """Return what the controller knows about a job, by key; empty if it does not know the job."""
    return dict(re.findall(r"(\w+)=(\S*)", _ask("scontrol", "--oneliner", "show", "job", job_id)))


def describe_end(state: str, exit_code: str) -> str:
    """Return the end of a job in words.

    Args:
        state: state in SLURM's terms, such as "FAILED".
        exit_code: "<code>:<signal>", as SLURM writes it. A shell reports death by signal N as exit code 128 + N.
    """
    code, signum = map(int, exit_code.split(":"))
    signum = signum or max(0, code - 128)
    if signum in set(signal.Signals):
        return f"{state}, killed by {signal.Signals(signum).name}"
    return f"{state}, exit code {code}" if code else state


def _ask(*command: str) -> str:
    """Return the output of a SLURM command; empty if SLURM does not know the job that it names.

    Raises:
        SlurmUnreachable: if the command fails for another reason, or gives no answer in TIMEOUT_S.
    """
    try:
        answer = subprocess.run(command, text=True, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SlurmUnreachable(f"{command[0]} gave no answer in {TIMEOUT_S} s") from None
    if answer.returncode == 0:
        return answer.stdout
    if "Invalid job id" in answer.stderr:
        return ""
    raise SlurmUnreachable(" ".join(answer.stderr.split()) or f"{command[0]} failed")
