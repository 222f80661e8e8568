"""A run is a function of its config: same config, same id, same folder, same result.

So running a command again is always right. A run that is done is skipped, one that was interrupted goes on
from its newest good checkpoint, one that failed is tried again and never mistaken for done.

    runs/<id>/config.yaml      the resolved config
              run.json         facts that do not change: identity, data fingerprint, parameters, choices
              status.json      the truth about its state (see `Status`)
              metrics.jsonl    one object a line, each with "step"
              tokenizer.json   a copy of the tokenizer
              divergence.json  where it diverged: the batch, and the gradients up to it
              checkpoints/     see checkpoint.py
              experiments/     a file for every experiment that counts this run as its own, with its choices
"""

import hashlib
import itertools
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate import slurm
from lmablate.errors import Diverged, UserError
from lmablate.files import disk_errors_named, read_json, write_atomic, write_json
from lmablate.locks import Busy, locked

log = logging.getLogger(__name__)

CODE_VERSION = 1
"""Raised whenever the same config would train to other numbers: runs of two versions are not compared."""


PATIENCE = 20.0
"""Seconds that a process waits for another one to leave a run."""


def run_id(identity: Mapping[str, Any], label: str) -> str:
    """`label` (for people) and a hash of everything that the result depends on."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return f"{label}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"


@dataclass
class Run:
    """A run's folder."""

    folder: Path

    @classmethod
    def create(cls, runs_dir: Path, identity: Mapping[str, Any], label: str, config_yaml: str) -> "Run":
        """The folder of the run with this identity, made where it is missing.

        Raises UserError where the folder cannot be written, or holds another identity (with the difference).
        """
        run = cls(runs_dir / run_id(identity, label))
        with disk_errors_named("runs_dir", runs_dir):
            (run.folder / "experiments").mkdir(parents=True, exist_ok=True)
            if not run.facts_path.exists():
                write_atomic(run.folder / "config.yaml", config_yaml.encode())
                write_json(run.facts_path, {"id": run.id, "identity": identity})
        if changes := differences(run.facts()["identity"], identity):
            raise UserError(f"{run.folder} belongs to another configuration: {'; '.join(changes[:10])}.")
        return run

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def facts_path(self) -> Path:
        return self.folder / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def tokenizer_path(self) -> Path:
        """A copy: nothing in a run's folder names a file outside it."""
        return self.folder / "tokenizer.json"

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    def facts(self) -> dict[str, Any]:
        """What run.json says. Raises UserError where it is missing, unreadable or without an identity."""
        try:
            facts = read_json(self.facts_path)
            if not isinstance(facts, dict) or not isinstance(facts.get("identity"), dict):
                raise ValueError("it has no identity")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.facts_path} cannot be read: {error}.") from error
        return facts

    def add_facts(self, **facts: Any) -> None:
        write_json(self.facts_path, {**self.facts(), **facts})

    def join(self, experiment: str, choices: Mapping[str, str] | None = None) -> None:
        """Counts this run among `experiment`'s, which came to it by these group choices.

        Experiments share runs: a baseline is trained once, and may be `arch=vanilla` in one of them and a
        list of single choices in another.
        """
        with disk_errors_named("runs_dir", self.folder.parent):
            write_json(self.folder / "experiments" / experiment, dict(choices or {}))

    def status(self) -> dict[str, Any]:
        """What status.json says; {"state": "missing"} where it is not there, or not ours."""
        try:
            status = read_json(self.folder / "status.json")
        except (OSError, ValueError, RecursionError):
            status = None
        return status if isinstance(status, dict) and isinstance(status.get("state"), str) else {"state": "missing"}

    def is_due(self, skip_failed: bool = False) -> bool:
        """Whether there is anything left to do: not where it is done, nor, if asked for, where it failed before."""
        status = self.status()
        if skip_failed and status["state"] == "failed":
            log.warning("%s: skipped, it failed before: %s", self.id, status.get("error"))
            return False
        return status["state"] != "done"

    def set_status(self, state: str, rank: int = 0, **facts: Any) -> None:
        """`state` is running, done, failed or preempted; `heartbeat` is the time of this call.

        Workers other than rank 0 have a file of their own, written only when they fail.
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
        """Turns an exception into the state `failed`, with its sentence, before it goes on."""
        (self.folder / f"status.rank{rank}.json").unlink(missing_ok=True)
        try:
            yield
        except Exception as error:
            message = (str(error).strip().splitlines() or [""])[-1]
            if not isinstance(error, UserError | Diverged):
                message = f"{type(error).__name__}: {message}"
            step = self.status().get("step")
            with suppress(OSError):  # a full disk has no room for this either; `status` then finds the run dead
                self.set_status("failed", rank, error=message, step=step)
            raise

    def sweep(self) -> None:
        """Removes the part files that killed processes left of what only the run's own process writes."""
        for name in ("status", "metrics", "divergence"):
            for part in self.folder.glob(f".{name}*.part"):
                part.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process. Raises Busy where another one is training it at this moment.

        Not at once: a requeued job may meet its predecessor, which is still dying.
        """
        try:
            with locked(self.folder / ".lock", patience=PATIENCE):
                self.sweep()
                yield
        except Busy as error:
            status = self.status()
            who = f"process {status.get('pid')} on {status.get('host')}"
            raise Busy(f"{self.id} is being trained by {who}") from error


class MetricsLog:
    """metrics.jsonl: one JSON object a line, in the order of steps, each step once; `rows` counts them."""

    def __init__(self, path: Path, keep_below: int, expected: int | None = None) -> None:
        """Opens for appending, after dropping the rows of `keep_below` and later: they will be computed again.

        Raises UserError where the rows before are not as many as `expected`, or one of them is damaged.
        """
        rows = iterate_metrics(path) if path.exists() else ()
        kept = list(itertools.takewhile(lambda row: row["step"] < keep_below, rows))
        self.rows = len(kept)
        if expected is not None and self.rows != expected:
            raise UserError(
                f"{path} has {self.rows} rows before step {keep_below}, but had {expected} when that step's "
                f"checkpoint was saved: delete {path.parent} to train the run afresh."
            )
        write_atomic(path, "".join(map(dump_row, kept)).encode())
        self.file = path.open("ab", buffering=0)

    def write(self, row: Mapping[str, float]) -> None:
        data = dump_row(row).encode()
        while data:  # a nearly full disk takes a part, and complains at the next
            data = data[self.file.write(data) :]
        self.rows += 1

    def sync(self) -> None:
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.sync()
        self.file.close()


def dump_row(row: Mapping[str, float]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl. A torn last line, left by a kill, is dropped with a word.

    Raises UserError for a damaged line anywhere else.
    """
    return list(iterate_metrics(path))


def iterate_metrics(path: Path) -> Iterator[dict[str, float]]:
    """`read_metrics`, row by row: damage is met only by those who read as far."""
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int) or isinstance(row["step"], bool):
                raise ValueError("no object with a whole number 'step'")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                log.warning("%s: dropped a torn last line of %d bytes", path, len(line))
                return
            raise UserError(f"{path}, line {number} is damaged: {error}.") from error
        yield row


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What differs between two nested configs, one `key: old -> new` each."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new}, key=str)
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def all_runs(runs_dir: Path, experiment: str | None = None) -> list[Run]:
    """Every run below `runs_dir`, by name; only those of `experiment` where one is named."""
    folders = sorted(path.parent for path in runs_dir.glob("*/run.json"))
    return [Run(f) for f in folders if experiment is None or (f / "experiments" / experiment).exists()]
