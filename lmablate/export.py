"""Turn a folder of runs into tidy tables: `python -m lmablate.export [KEY=VALUE ...]`; --help explains the keys."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError, counted
from lmablate.files import refuse_foreign
from lmablate.results.exports import CsvForm, SourceName, Thinning, is_table_of, read_runs, table_paths, write_tables

log = logging.getLogger(__name__)


@dataclass
class Arguments:
    """Write the tables of each experiment: its measurements as NAME.parquet and NAME.csv, its runs as NAME.runs.csv.

    The measurements come from the runs' own metrics.jsonl, from the files that wandb writes offline, or from CSV files
    saved from wandb's web page.

      python -m lmablate.export experiment=mine
          from ./runs to analysis/exports
      python -m lmablate.export experiment=mine source=csv folder=downloads out=tables csv=none
          from CSV files of wandb's page, as parquet only
    """

    experiment: Annotated[str, "one experiment, or all"] = "all"
    runs_dir: Annotated[Path, "the folder of the runs"] = Path("runs")
    source: Annotated[SourceName, "metrics, wandb or csv"] = "metrics"
    folder: Annotated[Path | None, "the folder of the wandb or CSV files; null stands for runs_dir"] = None
    out: Annotated[Path, "the folder of the tables"] = Path("analysis/exports")
    every: Annotated[int, "keep per-step metrics (not train/loss, grad_norm, lr) at multiples of this"] = 1
    digits: Annotated[int, "number of significant digits of a value"] = 6
    step_every: Annotated[int, "the same for train/loss, grad_norm and lr, where no claim reads every step"] = 1
    step_digits: Annotated[int | None, "the number for train/loss, grad_norm and lr; null stands for digits"] = None
    csv: Annotated[CsvForm, "plain, gzip or none"] = "plain"
    overwrite: Annotated[bool, "also replace files that are not tables of these runs"] = False


def export(args: Arguments) -> None:
    """Write the tables, and print their paths."""
    thinning = Thinning(args.every, args.digits, args.step_every, args.step_digits)
    if args.folder and args.source == "metrics":
        raise UserError(f"folder={args.folder} is of no use with source=metrics: choose source=wandb or source=csv.")
    key, folder = ("folder", args.folder) if args.folder else ("runs_dir", args.runs_dir)
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is not a folder.")
    chosen = None if args.experiment == "all" else args.experiment
    damage: list[UserError] = []
    recorded = read_runs(args.source, args.runs_dir, args.folder, chosen, damage.append)
    experiments = {name for run in recorded for name in run.experiments}
    if homeless := [run.id for run in recorded if not run.experiments]:
        log.warning("%s in no experiment, such as %s, is in no table", counted(len(homeless), "run"), homeless[0])
    if chosen is None and not (experiments or damage):
        raise UserError(f"{key}={folder} holds no run of an experiment.")
    written = 0
    for experiment in sorted(experiments) if chosen is None else [chosen]:
        runs = {run.id for run in recorded if experiment in run.experiments}
        try:
            paths, are_ours = table_paths(experiment, args.out, args.csv), partial(is_table_of, runs=runs)
            refuse_foreign("out", paths, are_ours, "a table of these runs", args.overwrite)
            paths = write_tables(recorded, experiment, args.out, thinning, args.csv, damage.append)
        except UserError as error:
            damage.append(error)
        else:
            written += 1
            print(f"{experiment}: {counted(len(runs), 'run')} -> {', '.join(map(str, paths))}")
    if damage:
        intro = "passed over, while all else was exported: " if written else ""
        raise UserError(intro + "; ".join(str(error).rstrip(".") for error in damage) + ".")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_key_value_command("lmablate.export", Arguments, export)
