"""A run is a function of its config: same config, same id, same folder, same result.

So it is always safe to run a command again. A finished run is skipped, an interrupted one resumes from its newest good
checkpoint, and a failed one is tried again and never taken for a finished one.

Every file and key of the folder is described in docs/run_folder.md:

    runs/<id>/config.yaml      the resolved config
              run.json         facts that do not change: identity, data fingerprint, parameters, choices
              status.json      the run's state
              metrics.jsonl    one object per line, each with "step"
              tokenizer.json   a copy of the tokenizer
              divergence.json  written if the run diverged: the batch, and the gradient norms of the last eight steps
              checkpoints/     see training/checkpoint.py
              experiments/     one file for each experiment that the run belongs to, with its group choices
              commands/        one file for each experiment, with the arguments that select the run for it
"""

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.errors import Diverged, UserError, reason
from lmablate.files import (
    COUNT,
    NUMBER,
    TEXT,
    Busy,
    checked_name,
    disk_errors_named,
    locked,
    object_with,
    read_json,
    read_record,
    write_bytes,
    write_json,
)
from lmablate.runs import slurm
from lmablate.runs.metrics import read_metrics

log = logging.getLogger(__name__)

# Increase it whenever the same config would train to different numbers; CHANGELOG.md has a line for each version. Runs
# of two versions are never compared.
CODE_VERSION = 2

# Seconds to wait for another process to release a run: a requeued job may start before its predecessor has ended.
LOCK_TIMEOUT_S = 20.0

_STATUS = object_with(
    {"state": TEXT}, error=TEXT, host=TEXT, pid=COUNT, heartbeat=NUMBER,
    slurm_job_id={"type": ["string", "null"]}, seconds_left={"type": ["number", "null"]},
    step={"type": ["integer", "null"]}, max_steps={"type": ["integer", "null"]},
)  # fmt: skip


def run_id(identity: Mapping[str, Any], label: str) -> str:
    """Return a run's id: the readable `label` and a hash of `identity`, which is all that the result depends on."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return f"{label}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"


@dataclass
class Run:
    """A run and the files in its folder.

    Attributes:
        folder: `runs_dir/<id>`.
    """

    folder: Path

    @classmethod
    def create(cls, runs_dir: Path, identity: Mapping[str, Any], label: str, config_yaml: str) -> "Run":
        """Return the run with this identity; its folder is created if it is missing.

        Args:
            runs_dir: the folder of all runs.
            identity: everything that the result depends on; see `config.identity`.
            label: the readable part of the run's id.
            config_yaml: content of config.yaml.

        Raises:
            UserError: if the folder cannot be written to, or if it holds another identity; it names the difference.
        """
        run = cls(runs_dir / run_id(identity, label))
        with disk_errors_named("runs_dir", runs_dir):
            if not run.facts_path.exists():
                (run.folder / "experiments").mkdir(parents=True, exist_ok=True)
                write_bytes(run.folder / "config.yaml", config_yaml.encode())
                write_json(run.facts_path, {"id": run.id, "identity": identity})
        if changes := differences(run.facts()["identity"], identity):
            raise UserError(f"{run.folder} belongs to another configuration: {'; '.join(changes[:10])}.")
        return run

    @property
    def id(self) -> str:
        """The name of the folder."""
        return self.folder.name

    @property
    def facts_path(self) -> Path:
        """Path of run.json."""
        return self.folder / "run.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def tokenizer_path(self) -> Path:
        """The run's own copy of the tokenizer: nothing in its folder depends on a file outside."""
        return self.folder / "tokenizer.json"

    @property
    def metrics_path(self) -> Path:
        """Path of metrics.jsonl."""
        return self.folder / "metrics.jsonl"

    def facts(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            UserError: if it is missing, unreadable, or has no identity.
        """
        try:
            facts = read_json(self.facts_path)
            if not isinstance(facts, dict) or not isinstance(facts.get("identity"), dict):
                raise ValueError("it has no identity")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.facts_path} cannot be read: {reason(error)}.") from error
        return facts

    def add_facts(self, **facts: Any) -> None:
        """Add keys to run.json, or replace them."""
        write_json(self.facts_path, {**self.facts(), **facts})

    def add_to_experiment(self, experiment: str, choices: Mapping[str, str], arguments: Sequence[str] = ()) -> None:
        """Record that the run belongs to `experiment`, which selected it by these group choices.

        Experiments share runs: a baseline is trained once, and may be `arch=vanilla` in one experiment and a list
        of single choices in another. Somebody else's finished run, which may only be read, stays as it is.

        Args:
            experiment: its name.
            choices: the chosen option of each group.
            arguments: those of `lmablate.train` that select this run alone; empty if they are not known.
        """
        name = checked_name("name", experiment)
        records = {"experiments": dict(choices), **({"commands": [*arguments]} if arguments else {})}
        for folder, record in records.items():
            path = self.folder / folder / name
            with suppress(OSError, ValueError):
                if read_json(path) == record:
                    continue
            if not os.access(self.folder, os.W_OK) and not self.is_due():
                log.warning("%s belongs to somebody else: not recorded as a part of %s", self.id, experiment)
                return
            with disk_errors_named("runs_dir", self.folder.parent):
                path.parent.mkdir(exist_ok=True)
                write_json(path, record)

    def arguments_for(self, experiment: str) -> list[str]:
        """Return the arguments of `lmablate.train` that select the run for an experiment; empty if not known."""
        try:
            arguments = read_json(self.folder / "commands" / checked_name("name", experiment))
        except (OSError, ValueError, RecursionError):
            return []
        is_list = isinstance(arguments, list) and all(isinstance(argument, str) for argument in arguments)
        return arguments if is_list else []

    def metrics(self) -> list[dict[str, float]]:
        """Return the rows of metrics.jsonl, each with "step"; none if nothing has been logged yet."""
        return read_metrics(self.metrics_path) if self.metrics_path.exists() else []

    def status(self) -> dict[str, Any]:
        """Read status.json; {"state": "missing"} if it does not exist or is damaged."""
        return _read_status(self.folder / "status.json")

    def states_of_other_ranks(self) -> dict[str, dict[str, Any]]:
        """Read the status files that other ranks than 0 wrote as they failed, by the rank's name."""
        return {
            path.stem.removeprefix("status."): _read_status(path)
            for path in sorted(self.folder.glob("status.rank*.json"))
        }

    def is_due(self, skip_failed: bool = False) -> bool:
        """Return whether the run has to be trained, that is, whether it is not done.

        Args:
            skip_failed: count a run that failed before as not due.
        """
        status = self.status()
        if skip_failed and status["state"] == "failed":
            log.warning("%s: skipped, it failed before: %s", self.id, status.get("error"))
            return False
        return status["state"] != "done"

    def set_status(self, state: str, rank: int = 0, **facts: Any) -> None:
        """Write status.json with the time (`heartbeat`), host, process and SLURM job of this call.

        Args:
            state: "running", "done", "failed" or "preempted".
            rank: rank of this process. Ranks other than 0 write a file of their own, and only when they fail.
            facts: more keys.
        """
        where = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job_id": slurm.own_job_id(),
        }
        name = f"status.rank{rank}.json" if rank else "status.json"
        write_json(self.folder / name, {"state": state, "heartbeat": time.time(), **where, **facts})

    @contextmanager
    def recording_failure(self, rank: int = 0) -> Iterator[None]:
        """Set the state to "failed", with the sentence of the exception, if the block raises one."""
        (self.folder / f"status.rank{rank}.json").unlink(missing_ok=True)
        try:
            yield
        except Exception as error:
            message = (str(error).strip().splitlines() or [""])[-1]
            if not isinstance(error, UserError | Diverged):
                message = f"{type(error).__name__}: {message}"
            step = self.status().get("step")
            with suppress(OSError):  # the disk may be full; `lmablate.status` then shows the run as died
                self.set_status("failed", rank, error=message, step=step)
            raise

    def _remove_part_files(self) -> None:
        """Remove part files that a killed process left behind, of those files that only the lock's holder writes."""
        for name in ("status", "metrics", "divergence", "tokenizer"):
            for part in self.folder.glob(f".{name}*.part"):
                part.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the run during the block.

        Raises:
            Busy: if another process still holds it after LOCK_TIMEOUT_S.
        """
        try:
            with locked(self.folder / ".lock", timeout=LOCK_TIMEOUT_S):
                self._remove_part_files()
                yield
        except Busy as error:
            status = self.status()
            who = f"process {status.get('pid')} on {status.get('host')}"
            raise Busy(f"{self.id} is being trained by {who}") from error


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the differences between two nested configs, each as "key: old -> new"; `path` is a prefix of the keys."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new}, key=str)
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def _read_status(path: Path) -> dict[str, Any]:
    try:
        return read_record(path, _STATUS)
    except (OSError, UserError):
        return {"state": "missing"}


def all_runs(runs_dir: Path) -> list[Run]:
    """Return every run in `runs_dir`, sorted by id."""
    return [Run(path.parent) for path in sorted(runs_dir.glob("*/run.json"))]


def done_with_other_code(runs_dir: Path, identity: Mapping[str, Any]) -> list[str]:
    """Return the ids of the finished runs that differ from this identity in the code of the user's own classes only."""
    if "own_code" not in identity:
        return []
    found = []
    for run in all_runs(runs_dir):
        with suppress(UserError):
            other = run.facts()["identity"]
            if differences(other, identity) and not differences({**other, "own_code": identity["own_code"]}, identity):
                found.append(run.id)
    return [run for run in found if Run(runs_dir / run).status()["state"] == "done"]
