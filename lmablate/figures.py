"""Draw an experiment: `python -m lmablate.figures experiment=NAME`; --help explains."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich import box
from rich.console import Console
from rich.table import Table

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError
from lmablate.results import plots
from lmablate.results.exports import Exported, exported, load
from lmablate.results.plots.gallery import MAIN, gallery

WIDTH = 120
"""Of the table, in characters, where there is no terminal to say it."""


@dataclass
class Arguments:
    """Draws the figures of an experiment from its exports, as PNG and SVG, and prints its results."""

    experiment: Annotated[str, "one experiment, or all that have exports"] = "all"
    exports: Annotated[Path, "where `lmablate.export` wrote the tables"] = Path("analysis/exports")
    out: Annotated[Path, "where the figures go, in a folder per experiment"] = Path("analysis/figures")


def print_table(data: Exported, console: Console) -> None:
    frame = plots.summary(data)
    title = f"{data.experiment}: mean over seeds ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in frame.columns:
        table.add_column(column, justify="left" if column == "variant" else "right", no_wrap=True)
    for values in frame.itertuples(index=False):
        table.add_row(*map(str, values))
    console.print(table)


def figures(args: Arguments) -> None:
    """Draws, saves and prints; the last line is the path of the main figure."""
    names = exported(args.exports) if args.experiment == "all" else [args.experiment]
    if not names:
        raise UserError(f"exports={args.exports} holds no table: make one with `python -m lmablate.export`.")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for name in names:
        data = load(args.exports, name)
        paths = {stem: plots.save(figure, args.out / name / stem) for stem, figure in gallery(data)}
        print_table(data, console)
        print(paths[MAIN][0])


if __name__ == "__main__":
    run_key_value_command("lmablate.figures", Arguments, figures)
