"""Runs from their own folders: metrics.jsonl, the first-hand record."""

from functools import partial
from pathlib import Path

from lmablate.exports.recorded import Curves, Recorded, check_size, from_folder, make_curves
from lmablate.runs import all_runs, read_metrics


def runs(runs_dir: Path) -> list[Recorded]:
    return [from_folder(run, partial(curves, run.metrics_path)) for run in all_runs(runs_dir)]


def curves(path: Path) -> Curves:
    """The curves of one metrics.jsonl; none where the run has not logged yet.

    A torn last line is dropped with a word. Raises UserError for damage anywhere else.
    """
    if not path.exists():
        return {}
    check_size(path)
    rows = read_metrics(path)
    return make_curves(((int(row.pop("step")), row) for row in rows), path)
