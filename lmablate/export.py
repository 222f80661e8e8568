"""Turn a folder of runs into tidy tables: `python -m lmablate.export [KEY=VALUE ...]`; --help explains."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError
from lmablate.results.exports import CsvForm, SourceName, Thinning, read, write


@dataclass
class Arguments:
    """Writes the measurements of each experiment as one tidy table, NAME.parquet and NAME.csv, and a row for
    each of its runs as NAME.runs.csv. Their source is our own metrics.jsonl, the files that wandb writes
    offline, or CSV files saved from wandb's page."""

    experiment: Annotated[str, "one experiment, or all"] = "all"
    runs_dir: Annotated[Path, "where the runs' folders are"] = Path("runs")
    source: Annotated[SourceName, "metrics, wandb or csv"] = "metrics"
    folder: Annotated[Path | None, "where the wandb runs or CSV files are; null is runs_dir"] = None
    out: Annotated[Path, "where the tables go"] = Path("analysis/exports")
    every: Annotated[int, "keep per-step metrics (not train/loss, grad_norm, lr) at multiples of this"] = 1
    digits: Annotated[int, "significant digits of a value"] = 6
    csv: Annotated[CsvForm, "plain, gzip or none"] = "plain"


def export(args: Arguments) -> None:
    """Writes the tables, and prints their paths."""
    thinning = Thinning(args.every, args.digits)
    name, folder = ("folder", args.folder) if args.folder else ("runs_dir", args.runs_dir)
    if not folder.is_dir():
        raise UserError(f"{name}={folder} is no folder.")
    only = None if args.experiment == "all" else args.experiment
    recorded = read(args.source, args.runs_dir, args.folder, only)
    experiments = [only] if only else sorted({name for run in recorded for name in run.experiments})
    if not experiments:
        raise UserError(f"{name}={folder} holds no run.")
    for experiment in experiments:
        paths = write(recorded, experiment, args.out, thinning, args.csv)
        runs = sum(experiment in run.experiments for run in recorded)
        print(f"{experiment}: {runs} runs -> {', '.join(map(str, paths))}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_key_value_command("lmablate.export", Arguments, export)
