"""The state of every run, from its own files, the processes of this machine, and SLURM if it is installed."""

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.runs import slurm
from lmablate.runs.job_list import read_jobs
from lmablate.runs.run import Run

# Seconds without a heartbeat after which a run on another machine counts as dead. A step takes far less.
_HEARTBEAT_TIMEOUT_S = 600.0

# States of SLURM jobs that will start, or start again.
_NOT_STARTED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING")


@dataclass(frozen=True)
class RunState:
    """One row of `lmablate.status`.

    Attributes:
        run: the run's id.
        arm: arm and seed in words; empty if the sweep is not known.
        state: done, running, waiting, preempted, failed, died (it ended without writing a final status) or missing.
        step: updates done.
        max_steps: updates in all.
        seconds_left: estimate of the training time left, while it runs.
        detail: the error, the reason why the run counts as dead, or the job that it waits for.
        heartbeat: Unix time of its last sign of life; 0 if there was none.
        in_queue: whether the SLURM job that trained it last is in the queue.
    """

    run: str
    arm: str
    state: str
    step: int | None = None
    max_steps: int | None = None
    seconds_left: float | None = None
    detail: str = ""
    heartbeat: float = 0.0
    in_queue: bool = False


def collect_states(rows: Iterable[tuple[Run, str, str]], runs_dir: Path) -> list[RunState]:
    """Return the state of each run.

    Args:
        rows: the run, its arm in words, and its sorted overrides joined by spaces.
        runs_dir: folder in which the launchers listed their jobs.
    """
    rows = list(rows)
    submitted = [entry for entry in read_jobs(runs_dir) if entry.job_id != str(entry.number)]  # others ran here
    # Without a controller that answers, `squeue` takes ten seconds to say so: it is asked only about jobs of its own.
    jobs = slurm.user_jobs() if submitted or any(run.status().get("slurm_job_id") for run, _, _ in rows) else None
    waiting = {
        " ".join(sorted(entry.overrides)): entry.job_id
        for entry in submitted
        if (jobs or {}).get(entry.job_id) in _NOT_STARTED
    }
    queued = {run.id: waiting[overrides] for run, _, overrides in rows if overrides in waiting}
    return [_state_of(run, arm, jobs, queued.get(run.id)) for run, arm, _ in rows]


def _state_of(run: Run, arm: str, jobs: Mapping[str, str] | None, queued_as: str | None) -> RunState:
    """Return the state of one run.

    Args:
        run: the run.
        arm: arm and seed in words.
        jobs: states of the jobs in SLURM's queue, by their ids; None if that is not known.
        queued_as: id of the SLURM job that will start the run, if there is one.
    """
    status = run.status()
    state, detail = status["state"], str(status.get("error", ""))
    if state == "running" and (reason := _why_dead(status, jobs)):
        state, detail = "died", reason
    if state in ("missing", "preempted", "died", "failed") and queued_as:
        state, detail = "waiting", f"SLURM job {queued_as}"
    if state == "failed":
        others = [f"{rank}: {found.get('error')}" for rank, found in run.states_of_other_ranks().items()]
        detail = "; ".join(filter(None, [detail, *others]))
    left = status.get("seconds_left") if state == "running" else None
    in_queue = str(status.get("slurm_job_id")) in (jobs or {})
    heartbeat = status.get("heartbeat", 0.0)
    return RunState(run.id, arm, state, status.get("step"), status.get("max_steps"), left, detail, heartbeat, in_queue)


def _why_dead(status: Mapping[str, Any], jobs: Mapping[str, str] | None) -> str:
    """Return why a run is dead although its status says "running"; empty if it may be alive."""
    job, silent = status.get("slurm_job_id"), time.time() - status.get("heartbeat", 0)
    if job and jobs is not None and job not in jobs:
        return f"SLURM job {job} has ended"
    if not job and status.get("host") == socket.gethostname() and not process_is_alive(status.get("pid")):
        return f"process {status.get('pid')} has ended"
    return f"no heartbeat for {silent / 60:.0f} min" if silent > _HEARTBEAT_TIMEOUT_S else ""


def process_is_alive(pid: int | None) -> bool:
    """Return whether a process with this id exists on this machine."""
    try:
        os.kill(pid or -1, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid is not None
