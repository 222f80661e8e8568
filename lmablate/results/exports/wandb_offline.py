"""Runs from the files that wandb writes offline, read by `wandb leet inspect --json`, without a server."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.results.exports import catalogue
from lmablate.results.exports.recorded import (
    Curves,
    Recorded,
    check_size,
    flatten,
    from_folder,
    make_curves,
    schedule_of,
)
from lmablate.runs.run import Run

NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""How wandb writes them into JSON."""
PROCESSES = 2


@dataclass
class Segment:
    """One .wandb file: a run, or the part of it from one start to the next."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def started(self) -> str:
        return str(self.header.get("start_time", ""))


def runs(folder: Path, runs_dir: Path) -> list[Recorded]:
    """Every offline run below `folder`, described further by its folder in `runs_dir` where that is there.

    Raises UserError where there is none, or a file holds no run.
    """
    paths = sorted(folder.rglob("*.wandb"))
    if not paths:
        raise UserError(f"folder={folder} holds no offline wandb run (a file *.wandb).")
    with ThreadPoolExecutor(PROCESSES) as pool:
        segments = list(pool.map(read, paths))
    by_run: dict[str, list[Segment]] = {}
    for segment in sorted(segments, key=lambda segment: (segment.started, segment.path)):
        by_run.setdefault(str(segment.header["run_id"]), []).append(segment)
    return [_recorded(run, by_run[run], runs_dir) for run in sorted(by_run)]


def read(path: Path) -> Segment:
    """Raises UserError where wandb cannot read `path`, or finds no run in it."""
    check_size(path)
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    segment = Segment(path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        for line in process.stdout:
            _take(segment, line)
    if "run_id" not in segment.header:
        raise UserError(f"{path} holds no wandb run.")
    return segment


def _take(segment: Segment, line: bytes) -> None:
    """Adds one record, a line of JSON, to the segment."""
    try:
        record = json.loads(line)
        kind = record["type"]
        if kind == "run":
            segment.header |= record["run"]
        elif kind == "history":
            item = record["history"]["item"]
            segment.rows.append((int(item["_step"]), _metrics(item)))
        elif kind == "exit":
            segment.exit_code = int(record["exit"].get("exit_code", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{segment.path} has a record that cannot be understood: {error}.") from error


def _metrics(item: Mapping[str, Any]) -> dict[str, Any]:
    """What we logged, without wandb's own keys; other values than numbers, such as pictures, are left out."""
    values = {key: NOT_FINITE.get(str(value), value) for key, value in item.items() if key[0] != "_"}
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _joined(segments: Iterable[Segment]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a run that was resumed: each segment replaces what came before from its first step on."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for segment in segments:
        if segment.rows:
            first = segment.rows[0][0]
            rows = [row for row in rows if row[0] < first] + segment.rows
    yield from rows


def _recorded(run: str, segments: list[Segment], runs_dir: Path) -> Recorded:
    """The run that these segments make up."""

    def curves() -> Curves:
        return make_curves(_joined(segments), segments[-1].path)

    ours, header = Run(runs_dir / run), segments[-1].header
    if ours.facts_path.exists():
        return from_folder(ours, curves)
    config = (header.get("config") or {}).get("update") or {}
    exit_code = segments[-1].exit_code
    try:
        train = config["train"]
        facts = schedule_of(config) | {
            "tokens": train["max_steps"] * train["batch_size"] * config["model"]["context_length"]
        }
        seed = int(config["seed"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{segments[-1].path} is no run of lmablate: its config lacks a key.") from None
    return Recorded(
        run=run,
        seed=seed,
        state="running" if exit_code is None else "failed" if exit_code else "done",
        curves=curves,
        choices=catalogue.choices_of(config),
        config=flatten(config),
        facts=facts,
        experiments={str(header.get("run_group") or "adhoc"): {}},
    )
