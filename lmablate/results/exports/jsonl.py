"""Runs from their own folders: metrics.jsonl, the first-hand record."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json

from lmablate.results.exports.recorded import LAST_STEP, Curves, Recorded, check_size, curve, from_folder, make_curves
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import all_runs


def runs(runs_dir: Path) -> list[Recorded]:
    return [from_folder(run, partial(curves, run.metrics_path)) for run in all_runs(runs_dir)]


def curves(path: Path) -> Curves:
    """The curves of one metrics.jsonl; none where the run has not logged yet.

    A torn last line is dropped with a word. Raises UserError for damage anywhere else.
    """
    if not path.exists():
        return {}
    check_size(path)
    if (table := _plain_table(path)) is not None:
        return {name: _column_curve(table, name) for name in sorted(table.column_names) if name != "step"}
    rows = read_metrics(path)
    return make_curves(((int(row.pop("step")), row) for row in rows), path)


def _plain_table(path: Path) -> pa.Table | None:
    """The rows as columns, parsed many times faster than line by line; None for a file that is not all numbers.

    That one may be damaged, torn, or hold a NaN, and is for the careful reader.
    """
    try:
        table = pyarrow.json.read_json(path)
    except pa.ArrowException:
        return None
    numeric = all(pa.types.is_int64(column.type) or pa.types.is_float64(column.type) for column in table.columns)
    if not numeric or "step" not in table.column_names or table.num_rows != path.read_bytes().count(b"\n"):
        return None
    if table["step"].null_count or not pa.types.is_int64(table["step"].type):
        return None
    if any(np.isinf(column.to_numpy()).any() for column in table.columns if pa.types.is_float64(column.type)):
        return None  # a number too large for a float
    steps = table["step"].to_numpy()
    return table if steps.size and steps.min() >= 0 and steps.max() < LAST_STEP else None


def _column_curve(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a value in column `name`."""
    column, step = table[name], table["step"]
    if column.null_count:
        there = column.is_valid()
        column, step = column.filter(there), step.filter(there)
    return curve(step.to_numpy(), column.to_numpy())
