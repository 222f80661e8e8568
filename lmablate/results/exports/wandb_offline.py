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
from lmablate.results.exports.catalogue import choices_of_config
from lmablate.results.exports.recorded import (
    Curves,
    RecordedRun,
    check_size,
    flatten_config,
    make_curves,
    recorded_from_folder,
    schedule_of,
)
from lmablate.runs.run import Run

# How wandb writes these numbers into JSON.
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
# Files that are read at the same time, each by a process of its own.
PROCESSES = 2


@dataclass
class Segment:
    """One .wandb file: a run, or the part of it from one start to the next.

    Attributes:
        path: the file.
        header: wandb's record of the run: run_id, start_time, config, ...
        rows: (step, {metric: value}) in the order of logging.
        exit_code: 0 for a finished run; None if the file records no end.
    """

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def started(self) -> str:
        """The time of the start, as ISO text; empty if unknown."""
        return str(self.header.get("start_time", ""))


def read_wandb_offline(folder: Path, runs_dir: Path) -> list[RecordedRun]:
    """Return every offline run below `folder`.

    Args:
        folder: the folder of the .wandb files.
        runs_dir: a run whose folder is in here is described by that folder, any other by its .wandb file.

    Raises:
        UserError: if there is no .wandb file, or if one of them holds no run.
    """
    paths = sorted(folder.rglob("*.wandb"))
    if not paths:
        raise UserError(f"folder={folder} holds no offline wandb run (a file *.wandb).")
    with ThreadPoolExecutor(PROCESSES) as pool:
        segments = list(pool.map(read_segment, paths))
    by_run: dict[str, list[Segment]] = {}
    for segment in sorted(segments, key=lambda segment: (segment.started, segment.path)):
        by_run.setdefault(str(segment.header["run_id"]), []).append(segment)
    return [_recorded(run, by_run[run], runs_dir) for run in sorted(by_run)]


def read_segment(path: Path) -> Segment:
    """Return the content of one .wandb file, up to where it is damaged.

    Raises:
        UserError: if wandb cannot read it, or finds no run in it.
    """
    check_size(path)
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    segment = Segment(path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        for line in process.stdout:
            _add_record(segment, line)
    if "run_id" not in segment.header:
        raise UserError(f"{path} holds no wandb run.")
    return segment


def _add_record(segment: Segment, line: bytes) -> None:
    """Add one record, a line of JSON, to the segment."""
    try:
        record = json.loads(line)
        kind = record["type"]
        if kind == "run":
            segment.header |= record["run"]
        elif kind == "history":
            item = record["history"]["item"]
            segment.rows.append((int(item["_step"]), _metrics_of(item)))
        elif kind == "exit":
            segment.exit_code = int(record["exit"].get("exit_code", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{segment.path} has a record that cannot be understood: {error}.") from error


def _metrics_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that lmablate logged, without wandb's own keys and without values such as pictures."""
    values = {key: NOT_FINITE.get(str(value), value) for key, value in item.items() if key[0] != "_"}
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _join_rows(segments: Iterable[Segment]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a resumed run: each segment replaces the earlier rows from its first step on."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for segment in segments:
        if segment.rows:
            first = segment.rows[0][0]
            rows = [row for row in rows if row[0] < first] + segment.rows
    yield from rows


def _recorded(name: str, segments: list[Segment], runs_dir: Path) -> RecordedRun:
    """Return the run that these segments make up."""

    def read_curves() -> Curves:
        return make_curves(_join_rows(segments), segments[-1].path)

    run, header = Run(runs_dir / name), segments[-1].header
    if run.facts_path.exists():
        return recorded_from_folder(run, read_curves)
    config = (header.get("config") or {}).get("update") or {}
    exit_code = segments[-1].exit_code
    try:
        train = config["train"]
        facts = schedule_of(config) | {
            "tokens": train["max_steps"] * train["batch_size"] * config["model"]["context_length"]
        }
        seed = int(config["seed"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{segments[-1].path} is not a run of lmablate: its config lacks a key.") from None
    return RecordedRun(
        id=name,
        seed=seed,
        state="running" if exit_code is None else "failed" if exit_code else "done",
        read_curves=read_curves,
        choices=choices_of_config(config),
        config=flatten_config(config),
        facts=facts,
        experiments={str(header.get("run_group") or "adhoc"): {}},
    )
