"""Runs from CSV files saved from wandb's web page, one file per chart.

The first column is the x axis. Each run has three columns: `<run> - train/loss`, `<run> - train/loss__MIN` and
`<run> - train/loss__MAX`. A cell is empty if its run has no value at that step.
"""

import csv
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from lmablate.errors import UserError
from lmablate.files import read_text
from lmablate.results.exports.catalogue import choices_of_name
from lmablate.results.exports.recorded import (
    LAST_STEP,
    WANDB_KEYS,
    Curves,
    OnDamage,
    RecordedRun,
    check_size,
    make_curve,
    raise_damage,
    recorded_from_folder,
)
from lmablate.runs.run import Run, all_runs

log = logging.getLogger(__name__)
# Names of an x axis that counts steps.
STEP_NAMES = ("Step", "_step", "step")
Points = dict[int, float]


def read_csv_pages(
    folder: Path, runs_dir: Path, experiment: str | None = None, on_damage: OnDamage = raise_damage
) -> list[RecordedRun]:
    """Return every run that has a value in a CSV file of `folder`.

    Args:
        folder: the folder of the CSV files.
        runs_dir: a run whose folder is in here is described by that folder.
        experiment: the experiment of every other run. Its choices and seed are read off its name.
        on_damage: what is done about a damaged file, a run about which files contradict each other, and a run without
            folder if `experiment` is None.

    Raises:
        UserError: if there is no CSV file.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise UserError(f"folder={folder} holds no CSV file.")
    folders = {run.id: run for run in all_runs(runs_dir)}
    recorded = []
    for name, metrics in sorted(_points_of_runs(paths, on_damage).items()):
        if not any(metrics.values()):
            log.warning("%s: passed over the run %r, which has no value", folder, name)
            continue
        try:
            recorded.append(_recorded(name, metrics, folders, runs_dir, experiment))
        except UserError as error:
            on_damage(error)
    return recorded


def _points_of_runs(paths: Sequence[Path], on_damage: OnDamage) -> dict[str, dict[str, Points]]:
    """Return the points by run and metric, without the runs about which files contradict each other."""
    by_run: dict[str, dict[str, Points]] = {}
    contradictory = set()
    for path in paths:
        try:
            columns = list(read_columns(path))
        except UserError as error:
            on_damage(error)
            continue
        for run, metric, points in columns:
            try:
                _merge_points(by_run.setdefault(run, {}).setdefault(metric, {}), points, f"{path}: {run} - {metric}")
            except UserError as error:
                contradictory.add(run)
                on_damage(error)
    return {run: metrics for run, metrics in by_run.items() if run not in contradictory}


def _merge_points(known: Points, points: Points, name: str) -> None:
    for step, value in points.items():
        if known.setdefault(step, value) != value and value == value:
            raise UserError(f"{name} at step {step} is {value}, but another file says {known[step]}.")


def _recorded(
    name: str, metrics: dict[str, Points], folders: Mapping[str, Run], runs_dir: Path, experiment: str | None
) -> RecordedRun:
    read_curves = partial(_curves_of, metrics)
    if name in folders:
        return recorded_from_folder(folders[name], read_curves)
    if experiment is None:
        raise UserError(f"{name} has no folder in runs_dir={runs_dir}: say which experiment it is, experiment=NAME.")
    choices, seed = choices_of_name(name)
    return RecordedRun(name, seed, "unknown", read_curves, choices, experiments={experiment: {}})


def _curves_of(metrics: dict[str, Points]) -> Curves:
    measured = sorted(metric for metric, points in metrics.items() if points)
    return {metric: make_curve([*metrics[metric]], [*metrics[metric].values()]) for metric in measured}


def read_columns(path: Path) -> Iterator[tuple[str, str, Points]]:
    """Yield (run, metric, {step: value}) for every column of `path` that holds a metric.

    Raises:
        UserError: if the file is damaged, its x axis does not count steps, or a cell is not a number.
    """
    header, rows = _read_cells(path)
    if header[0] not in STEP_NAMES:
        raise UserError(f"{path} has the x axis {header[0]!r}: save the chart with Step on its x axis.")
    steps = [_parse_step(row[0], f"{path}, line {line}") for line, row in enumerate(rows, start=2)]
    for index, name in enumerate(header):
        run, dash, metric = name.rpartition(" - ")
        if not dash or metric in WANDB_KEYS or _is_extreme(name, header):
            continue
        points = {
            step: _parse_number(row[index], f"{path}: {name} at step {step}")
            for step, row in zip(steps, rows, strict=True)
            if row[index] != ""
        }
        _warn_of_averages(path, name, header, rows)
        yield run, metric, points


def _is_extreme(name: str, header: list[str]) -> bool:
    """Return whether a column has the lowest or highest values of another, without which it is a metric."""
    return any(name.endswith(end) and name.removesuffix(end) in header for end in ("__MIN", "__MAX"))


def _warn_of_averages(path: Path, name: str, header: list[str], rows: list[list[str]]) -> None:
    """Warn if MIN and MAX differ: the page averages neighbouring steps of long runs, and the runs of a group."""
    if {f"{name}__MIN", f"{name}__MAX"} <= {*header}:
        low, high = header.index(f"{name}__MIN"), header.index(f"{name}__MAX")
        if averaged := sum(row[low] != row[high] for row in rows):
            log.warning("%s: %r has averages over several steps or runs, at %d of its steps", path, name, averaged)


def _read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, all of the same length.

    Raises:
        UserError: if the file is anything else.
    """
    check_size(path)
    text = io.StringIO(read_text(path), newline="")
    try:
        header, *rows = [row for row in csv.reader(text, strict=True) if row] or [[]]
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {error}.") from error
    if not header:
        raise UserError(f"{path} is empty.")
    if len({*header}) < len(header):
        raise UserError(f"{path} names a column twice: {next(c for c in header if header.count(c) > 1)!r}.")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}, line {line} has {len(row)} cells, the header has {len(header)}.")
    return header, rows


def _parse_number(text: str, name: str) -> float:
    try:
        if "_" not in text:  # Python reads 1_000; no other program writes it
            return float(text)
    except ValueError:
        pass
    raise UserError(f"{name} is not a number: {text[:40]!r}.")


def _parse_step(text: str, name: str) -> int:
    value = _parse_number(text, name)
    if not (value.is_integer() and 0 <= value < LAST_STEP):
        raise UserError(f"{name}: the step is not a whole number: {text[:40]!r}.")
    return int(value)
