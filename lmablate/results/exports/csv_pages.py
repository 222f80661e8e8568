"""Runs from CSV files saved on the wandb web page, one file a chart.

The first column is the x axis, then come three columns a run: `<run> - train/loss`, `<run> - train/loss__MIN`
and `<run> - train/loss__MAX`. Cells are empty where a run has no value.
"""

import csv
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lmablate.errors import UserError
from lmablate.results.exports.catalogue import choices_of_name
from lmablate.results.exports.recorded import LAST_STEP, Curves, Recorded, check_size, curve, from_folder
from lmablate.runs.run import Run

log = logging.getLogger(__name__)
STEPS = ("Step", "_step", "step")
Points = dict[int, float]


def runs(folder: Path, runs_dir: Path, experiment: str | None = None) -> list[Recorded]:
    """Every run with a column in a CSV file of `folder`.

    A run whose folder is in `runs_dir` is described by it; any other belongs to `experiment`, and its factors
    are read off its name. Raises UserError for a damaged file, and where two files contradict each other.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise UserError(f"folder={folder} holds no CSV file.")
    by_run: dict[str, dict[str, Points]] = {}
    for path in paths:
        for run, metric, points in columns(path):
            _merge(by_run.setdefault(run, {}).setdefault(metric, {}), points, f"{path}: {run} - {metric}")
    return [_recorded(run, by_run[run], runs_dir, experiment) for run in sorted(by_run)]


def _merge(known: Points, points: Points, what: str) -> None:
    for step, value in points.items():
        if known.setdefault(step, value) != value and value == value:
            raise UserError(f"{what} at step {step} is {value}, but another file says {known[step]}.")


def _recorded(run: str, metrics: dict[str, Points], runs_dir: Path, experiment: str | None) -> Recorded:
    curves: Callable[[], Curves] = partial(_curves_of, metrics)
    ours = Run(runs_dir / run)
    if "/" not in run and ours.facts_path.exists():
        return from_folder(ours, curves)
    if experiment is None:
        raise UserError(f"{run} has no folder in runs_dir={runs_dir}: say which experiment it is, experiment=NAME.")
    choices, seed = choices_of_name(run)
    return Recorded(run, seed, "unknown", curves, choices, experiments={experiment: {}})


def _curves_of(metrics: dict[str, Points]) -> Curves:
    return {metric: curve([*metrics[metric]], [*metrics[metric].values()]) for metric in sorted(metrics)}


def columns(path: Path) -> Iterator[tuple[str, str, Points]]:
    """(run, metric, {step: value}) for every column of `path` that holds a metric."""
    header, rows = _read(path)
    if header[0] not in STEPS:
        raise UserError(f"{path} has the x axis {header[0]!r}: save the chart with Step on its x axis.")
    steps = [_whole(row[0], f"{path}, line {line}") for line, row in enumerate(rows, start=2)]
    for index, name in enumerate(header):
        run, dash, metric = name.rpartition(" - ")
        if not dash or metric.startswith("_") or metric.endswith(("__MIN", "__MAX")):
            continue
        points = {
            step: _number(row[index], f"{path}: {name} at step {step}")
            for step, row in zip(steps, rows, strict=True)
            if row[index] != ""
        }
        _warn_of_averages(path, name, header, rows)
        yield run, metric, points


def _warn_of_averages(path: Path, name: str, header: list[str], rows: list[list[str]]) -> None:
    """The page averages neighbouring steps of long runs, and the runs of a group; then MIN and MAX differ."""
    if {f"{name}__MIN", f"{name}__MAX"} <= {*header}:
        low, high = header.index(f"{name}__MIN"), header.index(f"{name}__MAX")
        if averaged := sum(row[low] != row[high] for row in rows):
            log.warning("%s: %d values of %r are averages over several steps or runs", path, averaged, name)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all of one length. Raises UserError for anything else."""
    check_size(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no CSV file: {error}.") from error
    if not header:
        raise UserError(f"{path} is empty.")
    if len({*header}) < len(header):
        raise UserError(f"{path} names a column twice: {next(c for c in header if header.count(c) > 1)!r}.")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}, line {line} has {len(row)} cells, the header has {len(header)}.")
    return header, rows


def _number(text: str, what: str) -> float:
    try:
        if "_" not in text:  # Python reads 1_000; no other program writes it
            return float(text)
    except ValueError:
        pass
    raise UserError(f"{what} is no number: {text[:40]!r}.")


def _whole(text: str, what: str) -> int:
    value = _number(text, what)
    if not (value.is_integer() and 0 <= value < LAST_STEP):
        raise UserError(f"{what}: the step is no whole number: {text[:40]!r}.")
    return int(value)
