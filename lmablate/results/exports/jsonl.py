"""Runs from their own folders: metrics.jsonl, the first-hand record."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json

from lmablate.errors import UserError
from lmablate.results.exports.recorded import (
    LAST_STEP,
    Curve,
    Curves,
    OnDamage,
    RecordedRun,
    check_size,
    make_curve,
    make_curves,
    raise_damage,
    recorded_from_folder,
)
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import all_runs


def read_jsonl(runs_dir: Path, on_damage: OnDamage = raise_damage) -> list[RecordedRun]:
    """Return every run in `runs_dir`, with the curves of its metrics.jsonl.

    Args:
        runs_dir: the folder of the runs.
        on_damage: what is done about a run.json that is damaged.
    """
    runs = []
    for run in all_runs(runs_dir):
        try:
            runs.append(recorded_from_folder(run, partial(read_curves, run.metrics_path)))
        except UserError as error:
            on_damage(error)
    return runs


def read_curves(path: Path) -> Curves:
    """Return the curves of one metrics.jsonl; none if the run has not logged yet.

    An incomplete last line is dropped with a warning.

    Raises:
        UserError: for damage anywhere else.
    """
    if not path.exists():
        return {}
    check_size(path)
    if (table := _read_numeric_table(path)) is not None:
        return {name: _curve_of_column(table, name) for name in sorted(table.column_names) if name != "step"}
    rows = read_metrics(path)
    return make_curves(((int(row.pop("step")), row) for row in rows), path)


def _read_numeric_table(path: Path) -> pa.Table | None:
    """Return the rows as columns, parsed many times faster than line by line, if all values are finite numbers.

    Any other file, which may be damaged, incomplete or contain NaN, gives None and is read line by line.
    """
    try:
        table = pyarrow.json.read_json(path)
        numeric = all(pa.types.is_int64(column.type) or pa.types.is_float64(column.type) for column in table.columns)
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if not numeric or "step" not in table.column_names or table.num_rows != path.read_bytes().count(b"\n"):
        return None
    if table["step"].null_count or not pa.types.is_int64(table["step"].type):
        return None
    if any(np.isinf(column.to_numpy()).any() for column in table.columns if pa.types.is_float64(column.type)):
        return None  # a number too large for a float
    steps = table["step"].to_numpy()
    return table if steps.size and steps.min() >= 0 and steps.max() < LAST_STEP else None


def _curve_of_column(table: pa.Table, name: str) -> Curve:
    """Return the rows that have a value in column `name`."""
    values, steps = table[name], table["step"]
    if values.null_count:
        is_valid = values.is_valid()
        values, steps = values.filter(is_valid), steps.filter(is_valid)
    return make_curve(steps.to_numpy(), values.to_numpy())
