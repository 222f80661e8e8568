"""Turn a folder of runs into tidy tables: `python -m lmablate.export [experiment=NAME]`; --help shows the keys."""

from dataclasses import dataclass
from pathlib import Path

from lmablate import arguments
from lmablate.arguments import argument
from lmablate.errors import UserError
from lmablate.exports import CsvForm, SourceName, Thinning, read, write


@dataclass
class Arguments:
    """Writes the measurements of each experiment as one tidy table, NAME.parquet and NAME.csv, and its runs as
    NAME.runs.csv. The source is our own metrics.jsonl, wandb's offline files, or CSV files saved from its page."""

    experiment: str = argument("all", "one experiment, or all")
    runs_dir: Path = argument(Path("runs"), "where the runs' folders are")
    source: SourceName = argument("metrics", "metrics, wandb or csv")
    folder: Path | None = argument(None, "where the wandb runs or CSV files are; null is runs_dir")
    out: Path = argument(Path("analysis/exports"), "where the tables go")
    every: int = argument(1, "keep per-step metrics (but train/loss, grad_norm and lr) at multiples of this")
    digits: int = argument(6, "significant digits of a value")
    csv: CsvForm = argument("plain", "plain, gzip or none")


def export(args: Arguments) -> None:
    """Writes the tables, and prints their paths."""
    thinning = Thinning(args.every, args.digits)
    needed = {"folder": args.folder} if args.folder else {"runs_dir": args.runs_dir}
    for name, folder in needed.items():
        if not folder.is_dir():
            raise UserError(f"{name}={folder} is no folder.")
    only = None if args.experiment == "all" else args.experiment
    recorded = read(args.source, args.runs_dir, args.folder, only)
    experiments = [only] if only else sorted({name for run in recorded for name in run.experiments})
    if not experiments:
        raise UserError(f"runs_dir={args.runs_dir} holds no run.")
    for experiment in experiments:
        paths = write(recorded, experiment, args.out, thinning, args.csv)
        runs = sum(experiment in run.experiments for run in recorded)
        print(f"{experiment}: {runs} runs -> {', '.join(map(str, paths))}")


if __name__ == "__main__":
    arguments.run("lmablate.export", Arguments, export)
