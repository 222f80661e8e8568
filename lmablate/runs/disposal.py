"""Runs that are of no more use: which they are, and how they leave the folder of the runs."""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.files import Busy, locked
from lmablate.runs.run import Run, all_runs
from lmablate.runs.states import collect_states

# Where hidden runs are, in the folder of the runs. No reader looks there.
HIDDEN = ".hidden"
# Why a run may be of no more use: two states of runs.states, or that a finished run of a newer code version has its
# config and its data.
KINDS = ("failed", "died", "superseded")


@dataclass(frozen=True)
class Useless:
    """A run that is of no more use.

    Attributes:
        run: the run.
        kind: one of KINDS.
        reason: why, in words.
        size: of its files, in bytes.
        status: its status.json when that was found.
    """

    run: Run
    kind: str
    reason: str
    size: int
    status: Mapping[str, Any]


def find_useless(runs_dir: Path, kinds: Collection[str]) -> list[Useless]:
    """Return the runs that are of no more use, sorted by id.

    A folder is a run only if it is one of `runs_dir` itself, no link, and its run.json has its name. A run that is
    being trained, or whose SLURM job is in the queue, is never of no use.

    Args:
        runs_dir: the folder of the runs.
        kinds: some of KINDS.
    """
    runs = [(run, facts) for run in all_runs(runs_dir) if (facts := _own_facts(run)) is not None]
    states = collect_states([(run, "", "") for run, _ in runs], runs_dir)
    newest: dict[str, tuple[int, str]] = {}  # version and id of the newest finished run, by what it has computed
    for (run, facts), state in zip(runs, states, strict=True):
        if state.state == "done":
            newest[_subject(facts)] = max(newest.get(_subject(facts), (-1, "")), (_version(facts), run.id))
    found = []
    for (run, facts), state in zip(runs, states, strict=True):
        status = run.status()
        if state.state in ("running", "waiting") or state.in_queue:
            continue
        version, successor = newest.get(_subject(facts), (-1, ""))
        kind, why = state.state, state.detail
        if "superseded" in kinds and version > _version(facts):
            kind, why = "superseded", f"code version {_version(facts)}, and {successor} has {version}"
        if kind in kinds:
            found.append(Useless(run, kind, why, _size(run.folder), status))
    return found


def dispose(useless: Useless, delete: bool) -> str | None:
    """Move a run to HIDDEN, and delete it there if that is wanted, so a kill never leaves half of a run behind.

    Args:
        useless: the run, from `find_useless`.
        delete: whether its files are deleted.

    Returns:
        Why nothing was done: somebody has begun to train it, or has trained it since; None if it was done.
    """
    run = useless.run
    try:
        with locked(run.folder / ".lock", timeout=0):
            if run.status() != useless.status:
                return "it has changed meanwhile"
            hidden = _free_name(run.folder.parent / HIDDEN / run.id)
            hidden.parent.mkdir(exist_ok=True)
            os.rename(run.folder, hidden)
    except Busy:
        return "it is being trained"
    if delete:
        shutil.rmtree(hidden)
    return None


def _own_facts(run: Run) -> Mapping[str, Any] | None:
    """Return run.json of a folder that is a run; None of anything else."""
    if run.folder.is_symlink() or run.id.startswith("."):
        return None
    try:
        facts = run.facts()
    except UserError:
        return None
    version = facts["identity"].get("code_version")
    return facts if facts.get("id") == run.id and isinstance(version, int) else None


def _subject(facts: Mapping[str, Any]) -> str:
    """Return what a run computes, without the version of the code that does it."""
    return json.dumps({**facts["identity"], "code_version": None}, sort_keys=True)


def _version(facts: Mapping[str, Any]) -> int:
    return facts["identity"]["code_version"]


def _free_name(path: Path) -> Path:
    """Return `path`, or, if it exists, the first of `path~2`, `path~3`, ... that does not."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}~{number}")
    return free


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
