"""From a folder of runs to tidy tables, and back. One reader per source; see `table` for the columns."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from lmablate.results.exports import csv_pages, jsonl, wandb_offline
from lmablate.results.exports.metrics import Metrics
from lmablate.results.exports.recorded import Recorded
from lmablate.results.exports.table import CsvForm, Exported, Thinning, exported, load, write

SourceName = Literal["metrics", "wandb", "csv"]


def read(
    source: SourceName, runs_dir: Path, folder: Path | None = None, experiment: str | None = None
) -> list[Recorded]:
    """The runs of a source. `folder` holds the wandb runs (by default `runs_dir`) or the CSV files.

    Raises UserError where the source has nothing, or damaged files.
    """
    if source == "wandb":
        return wandb_offline.runs(folder or runs_dir, runs_dir)
    if source == "csv":
        return csv_pages.runs(folder or runs_dir, runs_dir, experiment)
    return jsonl.runs(runs_dir)


def open_experiment(
    name: str, exports: Path, csv_folder: Path | None = None, runs_dir: Path = Path("runs")
) -> Exported:
    """The experiment as a notebook wants it: from its exports, or, where `csv_folder` is given, straight from
    CSV files saved from the wandb page.
    """
    if csv_folder is None:
        return load(exports, name)
    with TemporaryDirectory() as folder:
        write(read("csv", runs_dir, csv_folder, name), name, Path(folder), Thinning(), "none")
        data = load(Path(folder), name)
        return replace(data, metrics=Metrics.of(data.table))


__all__ = [
    "CsvForm",
    "Exported",
    "Metrics",
    "Recorded",
    "SourceName",
    "Thinning",
    "exported",
    "load",
    "open_experiment",
    "read",
    "write",
]
