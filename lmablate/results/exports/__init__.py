"""From a folder of runs to tidy tables, and back.

recorded       runs with a description and curves, as every reader returns them
jsonl          reads runs from their own folders: metrics.jsonl
wandb_offline  reads runs from the files that wandb writes offline
csv_pages      reads runs from CSV files saved from wandb's web page
catalogue      the options of the model's groups, found from class names and run names
factors        the factors of an experiment: choices and keys that vary among its runs
table          writes one table of measurements and one of runs per experiment
stored         reads these tables back
places         finds the tables of an experiment, and makes them anew from its runs
metrics        the measurements of an experiment, read metric by metric
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from lmablate.results.exports.csv_pages import read_csv_pages
from lmablate.results.exports.jsonl import read_jsonl
from lmablate.results.exports.metrics import Metrics
from lmablate.results.exports.places import find_exports, refresh_tables
from lmablate.results.exports.recorded import OnDamage, RecordedRun, raise_damage
from lmablate.results.exports.stored import Exported, exported_names, load_exported
from lmablate.results.exports.table import CsvForm, Thinning, is_table_of, table_paths, write_tables
from lmablate.results.exports.wandb_offline import read_wandb_offline

SourceName = Literal["metrics", "wandb", "csv"]


def read_runs(
    source: SourceName,
    runs_dir: Path,
    folder: Path | None = None,
    experiment: str | None = None,
    on_damage: OnDamage = raise_damage,
) -> list[RecordedRun]:
    """Return the runs of a source.

    Args:
        source: "metrics" (the runs' own metrics.jsonl), "wandb" (offline files) or "csv" (files of wandb's page).
        runs_dir: the folder of the runs; for "wandb" and "csv", their descriptions are read from it if they exist.
        folder: where the wandb files or CSV files are; None stands for `runs_dir`.
        experiment: the experiment of runs in CSV files that have no folder in `runs_dir`.
        on_damage: what is done about a file that cannot be read, while the others can.

    Raises:
        UserError: if there is no such file.
    """
    if source == "wandb":
        return read_wandb_offline(folder or runs_dir, runs_dir, on_damage)
    if source == "csv":
        return read_csv_pages(folder or runs_dir, runs_dir, experiment, on_damage)
    return read_jsonl(runs_dir, on_damage)


def open_experiment(
    name: str,
    exports: Path | str | None = None,
    csv_folder: Path | str | None = None,
    runs_dir: Path | str = Path("runs"),
) -> Exported:
    """Return an experiment for a notebook, from its exports or from CSV files.

    Args:
        name: the experiment.
        exports: the folder of the exports; None looks for them, see `find_exports`. It is not read if `csv_folder` is
            given.
        csv_folder: a folder of CSV files saved from wandb's page.
        runs_dir: the folder of the runs, which describes the runs of the CSV files.

    Raises:
        UserError: if the files are missing or damaged.
    """
    if csv_folder is not None:
        return read_experiment(name, "csv", Path(runs_dir), Path(csv_folder))
    return load_exported(find_exports(name, None if exports is None else Path(exports)), name)


def read_experiment(name: str, source: SourceName, runs_dir: Path, folder: Path | None = None) -> Exported:
    """Return an experiment from a source, without writing its tables anywhere; the arguments are those of `read_runs`.

    Raises:
        UserError: if a file is missing or damaged, or no run belongs to the experiment.
    """
    return as_exported(read_runs(source, runs_dir, folder, name), name)


def as_exported(runs: list[RecordedRun], name: str) -> Exported:
    """Return those of some runs that belong to an experiment, as its exports would describe them.

    Raises:
        UserError: if there are none.
    """
    with TemporaryDirectory() as tables:
        write_tables(runs, name, Path(tables), Thinning(digits=17), "none")
        data = load_exported(Path(tables), name)
        return replace(data, metrics=Metrics.from_frame(data.table))


__all__ = [
    "CsvForm",
    "Exported",
    "Metrics",
    "RecordedRun",
    "SourceName",
    "Thinning",
    "as_exported",
    "exported_names",
    "find_exports",
    "is_table_of",
    "load_exported",
    "open_experiment",
    "read_experiment",
    "read_runs",
    "refresh_tables",
    "table_paths",
    "write_tables",
]
