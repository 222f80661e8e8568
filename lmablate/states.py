"""The state of every run, told by its own files, the processes of this machine, and SLURM where there is one."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.runs import Run

SILENCE = 600.0
"""Seconds without a heartbeat after which a run elsewhere counts as dead. A step takes far less."""


@dataclass(frozen=True)
class State:
    """One run as `lmablate.status` shows it.

    `state` is done, running, waiting, preempted, failed, died (it stopped without a word) or missing.
    """

    run: str
    arm: str
    state: str
    step: int | None = None
    max_steps: int | None = None
    seconds_left: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Queue:
    """SLURM's jobs of this user by id, with their states; None where no SLURM answers."""

    jobs: dict[str, str] | None

    @classmethod
    def ask(cls) -> "Queue":
        if not shutil.which("squeue"):
            return cls(None)
        try:
            # %i names a pending array as 12_[0-7]: --array splits it into one line a task.
            command = ["squeue", "--noheader", "--array", "--format=%i %A %T"]
            out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return cls(None)
        rows = [line.split() for line in out.splitlines()]
        return cls({name: state for *names, state in rows for name in names})


def state_of(run: Run, arm: str, queue: Queue, queued: dict[str, str]) -> State:
    """What is known about `run`; `queued` maps the folder names of waiting runs to their SLURM job."""
    status = run.status()
    state, detail = status["state"], str(status.get("error", ""))
    if state == "running" and (reason := death(status, queue)):
        state, detail = "died", reason
    if state in ("missing", "preempted", "died", "failed") and run.id in queued:
        state, detail = "waiting", f"SLURM job {queued[run.id]}"
    if state == "failed":
        detail = "; ".join(filter(None, [detail, *other_ranks(run)]))
    step = status.get("step")
    left = status.get("seconds_left") if state == "running" else None
    return State(run.id, arm, state, step, status.get("max_steps"), left, detail)


def other_ranks(run: Run) -> list[str]:
    """What the workers beside rank 0 say of their failure."""
    said = []
    for path in sorted(run.folder.glob("status.rank*.json")):
        status = json.loads(path.read_text())
        said.append(f"{path.stem.removeprefix('status.')}: {status.get('error')}")
    return said


def death(status: dict[str, Any], queue: Queue) -> str:
    """Why a run that says it is running is not; empty where it is."""
    job, silent = status.get("slurm_job_id"), time.time() - status.get("heartbeat", 0)
    if job and queue.jobs is not None and job not in queue.jobs:
        return f"SLURM job {job} is gone"
    if not job and status.get("host") == socket.gethostname() and not alive(status.get("pid")):
        return f"process {status.get('pid')} is gone"
    return f"no word for {silent / 60:.0f} min" if silent > SILENCE else ""


def alive(pid: int | None) -> bool:
    try:
        os.kill(pid or -1, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid is not None


def waiting_jobs(runs_dir: Path, queue: Queue) -> dict[str, str]:
    """Overrides of the jobs that SLURM has not started, as `launchers` recorded them, with the job's id."""
    waiting: dict[str, str] = {}
    if not queue.jobs:
        return waiting
    for manifest in runs_dir.glob(".jobs/*/*/jobs.jsonl"):
        for line in manifest.read_text().splitlines():
            entry = json.loads(line)
            if queue.jobs.get(entry["job_id"]) in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"):
                waiting[" ".join(sorted(entry["overrides"]))] = entry["job_id"]
    return waiting


def survey(pairs: Iterable[tuple[Run, str, str]], runs_dir: Path) -> list[State]:
    """The state of each (run, arm, overrides)."""
    queue = Queue.ask()
    waiting = waiting_jobs(runs_dir, queue)
    rows = list(pairs)
    queued = {run.id: waiting[overrides] for run, _, overrides in rows if overrides in waiting}
    return [state_of(run, arm, queue, queued) for run, arm, _ in rows]
