"""Turn a folder of runs into tidy tables: `python -m lmablate.export [KEY=VALUE ...]`; --help explains the keys."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError
from lmablate.results.exports import CsvForm, SourceName, Thinning, read_runs, write_tables


@dataclass
class Arguments:
    """Write the tables of each experiment: its measurements as NAME.parquet and NAME.csv, its runs as NAME.runs.csv.

    The measurements come from the runs' own metrics.jsonl, from the files that wandb writes offline, or from CSV files
    saved from wandb's web page.
    """

    experiment: Annotated[str, "one experiment, or all"] = "all"
    runs_dir: Annotated[Path, "the folder of the runs"] = Path("runs")
    source: Annotated[SourceName, "metrics, wandb or csv"] = "metrics"
    folder: Annotated[Path | None, "the folder of the wandb or CSV files; null stands for runs_dir"] = None
    out: Annotated[Path, "the folder of the tables"] = Path("analysis/exports")
    every: Annotated[int, "keep per-step metrics (not train/loss, grad_norm, lr) at multiples of this"] = 1
    digits: Annotated[int, "number of significant digits of a value"] = 6
    csv: Annotated[CsvForm, "plain, gzip or none"] = "plain"


def export(args: Arguments) -> None:
    """Write the tables, and print their paths."""
    thinning = Thinning(args.every, args.digits)
    key, folder = ("folder", args.folder) if args.folder else ("runs_dir", args.runs_dir)
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is not a folder.")
    chosen = None if args.experiment == "all" else args.experiment
    recorded = read_runs(args.source, args.runs_dir, args.folder, chosen)
    experiments = [chosen] if chosen else sorted({name for run in recorded for name in run.experiments})
    if not experiments:
        raise UserError(f"{key}={folder} holds no run.")
    for experiment in experiments:
        paths = write_tables(recorded, experiment, args.out, thinning, args.csv)
        count = sum(experiment in run.experiments for run in recorded)
        print(f"{experiment}: {count} runs -> {', '.join(map(str, paths))}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_key_value_command("lmablate.export", Arguments, export)
