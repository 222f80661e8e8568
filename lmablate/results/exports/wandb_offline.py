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
from lmablate.files import checked_experiment
from lmablate.results.exports.catalogue import choices_of_config
from lmablate.results.exports.recorded import (
    WANDB_KEYS,
    Curves,
    OnDamage,
    RecordedRun,
    check_size,
    flatten_config,
    make_curves,
    raise_damage,
    recorded_from_folder,
    schedule_of,
    whole_number,
)
from lmablate.runs.run import Run, all_runs

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


def read_wandb_offline(folder: Path, runs_dir: Path, on_damage: OnDamage = raise_damage) -> list[RecordedRun]:
    """Return every offline run below `folder`.

    Args:
        folder: the folder of the .wandb files.
        runs_dir: a run whose folder is in here is described by that folder, any other by its .wandb file.
        on_damage: what is done about a file that holds no run of lmablate.

    Raises:
        UserError: if there is no .wandb file.
    """
    paths = sorted(path for path in folder.rglob("*.wandb") if path.is_file())
    if not paths:
        raise UserError(f"folder={folder} holds no offline wandb run (a file *.wandb).")
    folders = {run.id: run for run in all_runs(runs_dir)}
    with ThreadPoolExecutor(PROCESSES) as pool:
        read = list(pool.map(_segment_or_error, paths))
    by_run: dict[str, list[Segment]] = {}
    for error in (found for found in read if isinstance(found, UserError)):
        on_damage(error)
    segments = [found for found in read if isinstance(found, Segment)]
    for segment in sorted(segments, key=lambda segment: (segment.started, segment.path)):
        by_run.setdefault(str(segment.header["run_id"]), []).append(segment)
    recorded = []
    for run in sorted(by_run):
        try:
            recorded.append(_recorded(run, by_run[run], folders))
        except UserError as error:
            on_damage(error)
    return recorded


def _segment_or_error(path: Path) -> Segment | UserError:
    try:
        return read_segment(path)
    except UserError as error:
        return error


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
            add_record(segment, line)
    if "run_id" not in segment.header:
        raise UserError(f"{path} holds no wandb run.")
    return segment


def add_record(segment: Segment, line: bytes) -> None:
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
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{segment.path} has a record that cannot be understood: {error}.") from error


def _metrics_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that lmablate logged, without wandb's own keys and without values such as pictures."""
    values = {key: NOT_FINITE.get(str(value), value) for key, value in item.items() if key not in WANDB_KEYS}
    return {key: value for key, value in values.items() if type(value) in (int, float)}


def _join_rows(segments: Iterable[Segment]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a resumed run: each segment replaces the earlier rows from its first step on."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for segment in segments:
        if segment.rows:
            first = segment.rows[0][0]
            rows = [row for row in rows if row[0] < first] + segment.rows
    yield from rows


def _recorded(name: str, segments: list[Segment], folders: Mapping[str, Run]) -> RecordedRun:
    """Return the run that these segments make up."""

    def read_curves() -> Curves:
        return make_curves(_join_rows(segments), segments[-1].path)

    if name in folders:
        return recorded_from_folder(folders[name], read_curves)
    header, exit_code = segments[-1].header, segments[-1].exit_code
    try:
        config = (header.get("config") or {}).get("update") or {}
        choices = choices_of_config(config)
        experiment = checked_experiment("run_group", header.get("run_group") or "adhoc")
        train = config["train"]
        tokens = train["max_steps"] * train["batch_size"] * config["model"]["context_length"]
        facts = schedule_of(config) | {"tokens": whole_number(tokens)}
        seed = whole_number(config["seed"])
    except UserError as error:
        raise UserError(f"{segments[-1].path}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{segments[-1].path} is not a run of lmablate: its config lacks a key.") from None
    return RecordedRun(
        id=name,
        seed=seed,
        state="running" if exit_code is None else "failed" if exit_code else "done",
        read_curves=read_curves,
        choices=choices,
        config=flatten_config(config),
        facts=facts,
        experiments={experiment: {}},
    )
