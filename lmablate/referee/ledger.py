"""The folder in which a judge keeps its runs, and the ledger: one line for each thing that happened, never changed.

    OUT/ledger.jsonl    runs, looks, verdicts, proposals
    OUT/runs/KEY/       a run: command.json, log.txt, result.json, work/
    OUT/trials/KEY/     a comparison: its plan, looks.jsonl, verdict.json

A run's key is a hash of what makes up its result: the words of its command, the seed, the code, and the machine. So
nothing is run twice, whichever comparison asks for it.
"""

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.files import (
    COUNT,
    FLAG,
    TEXT,
    TEXTS,
    append_json_line,
    check_records,
    disk_errors_named,
    locked,
    object_with,
    read_record,
    read_record_lines,
    write_json,
)
from lmablate.referee.arms import ArmCommand
from lmablate.referee.metrics import Metric, MetricMissing
from lmablate.referee.supervise import COMMAND, LOG, RESULT

LEDGER = "ledger.jsonl"
# The last lines of a log, of which a message shows the last one.
_TAIL_BYTES = 4096


_RESULT = object_with(
    {
        "state": {"enum": ["done", "failed", "timeout"]},
        "seconds": {"type": "number", "minimum": 0},
        "exit_code": {"type": ["integer", "null"]},
    },
    error=TEXT,
)
# What a session notes about an arm.
ARM = object_with(dict.fromkeys(["command", "code", "source"], TEXT) | {"shell": FLAG})
_EVENTS = {
    "run": object_with({"key": TEXT}),
    "verdict": object_with({"trial": TEXT, "metric": TEXT, "exit_code": COUNT, "arms": {"type": "object"}}),
    "begun": object_with({"number": COUNT, "base": ARM, "arm": ARM}),
    "proposal": object_with(
        {"number": COUNT, "base": ARM, "arm": ARM, "verdict": TEXT, "exit_code": COUNT, "lines": TEXTS}
        | dict.fromkeys(["accepted", "crashed", "diverged", "looked"], FLAG)
        | {"facts": {"type": "object"}}
    ),
}
_LINE = object_with({"event": TEXT})


class State(StrEnum):
    """How a run ended."""

    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Request:
    """A run that is wanted.

    Attributes:
        arm: its command.
        seed: its seed.
        repeat: 0, or the number of a repetition of the same seed.
    """

    arm: ArmCommand
    seed: int
    repeat: int = 0

    def __str__(self) -> str:
        return f"{self.arm.name} seed {self.seed}" + (f" repetition {self.repeat}" if self.repeat else "")


@dataclass(frozen=True)
class Outcome:
    """A run that has ended.

    Attributes:
        state: how.
        value: the metric; NaN if it is not finite, or the run failed.
        seconds: time by the clock.
        folder: the run's folder.
        reason: why it failed, as a clause; empty if it did not.
        steps: the number of steps that it has done, if that is read.
        ran: whether the command itself ended well.
    """

    state: State
    value: float
    seconds: float
    folder: Path
    reason: str = ""
    steps: float = math.nan
    ran: bool = True

    @property
    def worth_another_try(self) -> bool:
        """Whether the same command might end otherwise: a number that it does not write will not be there then."""
        return self.state == State.FAILED and not self.ran


@dataclass(frozen=True)
class RunReading:
    """What is read from each run.

    Attributes:
        metric: the number that is compared.
        steps: the number of steps that a run has done; None if it is not read.
        diverged: what a run that failed has printed if it has diverged; None if failed runs never count as diverged.
    """

    metric: Metric
    steps: Metric | None = None
    diverged: re.Pattern[str] | None = None

    @property
    def own(self) -> list[str]:
        """The entries of the working folder that belong to each run alone."""
        return sorted({metric.own for metric in (self.metric, self.steps) if metric and metric.own})


def _key_of(identity: Mapping[str, Any]) -> str:
    """Return a short hash of a JSON value."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Ledger:
    """The runs below a folder, and the list of what happened.

    Args:
        out: the folder.
        machine: what a result depends on besides command, seed and code.
        limit_s: seconds that a run may take.
        log_bytes: bytes of its log that are kept.
    """

    def __init__(self, out: Path, machine: Mapping[str, Any], limit_s: float, log_bytes: int) -> None:
        self.out, self.machine = out.absolute(), dict(machine)
        self._limit_s, self._log_bytes = limit_s, log_bytes
        with disk_errors_named("out", out):
            (self.out / "runs").mkdir(parents=True, exist_ok=True)
        self._noted = {line["key"] for line in self.lines("run")}

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return what the ledger says about one kind of event, in order."""
        path = self.out / LEDGER
        found = [line for line in read_record_lines(path, _LINE) if line["event"] == event]
        return check_records(found, _EVENTS[event], f"{path}: a line of the event {event}")

    def note(self, event: str, **facts: Any) -> None:
        """Add a line to the ledger."""
        with locked(self.out / ".ledger.lock"):
            append_json_line(self.out / LEDGER, {"event": event, "time": _now(), **facts})

    def folder(self, request: Request) -> Path:
        """Return the folder of a run."""
        identity = {
            "words": request.arm.words(request.seed),
            "seed": request.seed,
            "repeat": request.repeat,
            "code": request.arm.code,
            "machine": self.machine,
        }
        return self.out / "runs" / _key_of(identity)

    def trial_folder(self, identity: Mapping[str, Any]) -> Path:
        """Return the folder of a comparison, which exists then."""
        folder = self.out / "trials" / _key_of({**identity, "machine": self.machine})
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prepare(self, request: Request, own: Sequence[str]) -> Path:
        """Write what a supervisor must know about a run. Returns the run's folder.

        Args:
            request: the run.
            own: entries of the folder in which the command was typed that the run is not to see.
        """
        folder = self.folder(request)
        folder.mkdir(parents=True, exist_ok=True)
        spec = {
            "words": request.arm.words(request.seed, str(folder / "work")),
            "command": request.arm.command,
            "seed": request.seed,
            "repeat": request.repeat,
            "source": str(request.arm.source),
            "own": list(own),
            "limit_s": self._limit_s,
            "log_bytes": self._log_bytes,
            "code": request.arm.code,
            "machine": self.machine,
        }
        write_json(folder / COMMAND, spec)
        return folder

    def set_aside_failure(self, folder: Path) -> None:
        """Put the result and the log of a failed run aside under a number, so that it can be tried again."""
        number = next(i for i in range(1, 10**6) if not (folder / f"{i}.{RESULT}").exists())
        if (folder / LOG).exists():
            os.replace(folder / LOG, folder / f"{number}.{LOG}")
        os.replace(folder / RESULT, folder / f"{number}.{RESULT}")

    def outcome(self, request: Request, reading: RunReading) -> Outcome | None:
        """Return how a run ended, and its metric; None if it has not ended."""
        folder = self.folder(request)
        if not (folder / RESULT).exists():
            return None
        try:
            result = read_record(folder / RESULT, _RESULT)
        except UserError as error:
            raise UserError(
                f"{str(error).rstrip('.')}: remove the folder {folder}, and the run is done again."
            ) from None
        outcome = _read_outcome(folder, result, reading)
        if folder.name not in self._noted:
            self._noted.add(folder.name)
            facts = {"command": request.arm.command, "seed": request.seed, "repeat": request.repeat}
            self.note("run", key=folder.name, state=outcome.state, seconds=outcome.seconds, **facts)
        return outcome


def _read_outcome(folder: Path, result: Mapping[str, Any], reading: RunReading) -> Outcome:
    seconds = float(result["seconds"])
    failure = _why_failed(folder, result)
    if failure:
        log = folder / LOG
        if reading.diverged and log.exists() and reading.diverged.search(log.read_text("utf-8", "replace")):
            return Outcome(State.DIVERGED, math.nan, seconds, folder)
        return Outcome(State.FAILED, math.nan, seconds, folder, failure, ran=False)
    try:
        value = reading.metric.read(folder)
        steps = reading.steps.read(folder) if reading.steps else math.nan
    except MetricMissing as missing:
        return Outcome(State.FAILED, math.nan, seconds, folder, str(missing))
    if not math.isfinite(value):
        return Outcome(State.DIVERGED, math.nan, seconds, folder, steps=steps)
    return Outcome(State.DONE, value, seconds, folder, steps=steps)


def _why_failed(folder: Path, result: Mapping[str, Any]) -> str:
    """Return why a command failed, with the last line that it printed; empty if it did not fail."""
    if result["state"] == "done":
        return ""
    if result["state"] == "timeout":
        why = f"it was ended at its time limit after {result['seconds']:.0f} s"
    elif result.get("error"):
        return f"it did not start: {result['error']}"
    else:
        code = result["exit_code"]
        why = f"it was killed by signal {-code}" if code and code < 0 else f"its exit code is {code}"
    log = folder / LOG
    tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    return f"{why}, and its last words are {last[:160]!r}" if last else f"{why}, and it printed nothing"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def first_failures(outcomes: Mapping[Request, Outcome]) -> Iterable[str]:
    """Yield one sentence for each run that failed."""
    for request, outcome in outcomes.items():
        if outcome.state == State.FAILED:
            yield f"{request} failed: {outcome.reason}. It is in {outcome.folder}."
