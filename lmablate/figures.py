"""Draw an experiment: `python -m lmablate.figures experiment=NAME`; --help explains the keys."""

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
from lmablate.results.exports import Exported, exported_names, load_exported

# Width of the table, in characters, if the output is not a terminal.
WIDTH = 120


@dataclass
class Arguments:
    """Draw the figures of an experiment from its exports, as PNG and SVG files, and print its results."""

    experiment: Annotated[str, "one experiment, or all that have exports"] = "all"
    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    out: Annotated[Path, "the folder of the figures; each experiment has a folder in it"] = Path("analysis/figures")


def print_table(data: Exported, console: Console) -> None:
    """Print the experiment's results, one row per arm."""
    frame = plots.summary(data)
    title = f"{data.experiment}: mean over seeds ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in frame.columns:
        table.add_column(column, justify="left" if column == "variant" else "right", no_wrap=True)
    for values in frame.itertuples(index=False):
        table.add_row(*map(str, values))
    console.print(table)


def figures(args: Arguments) -> None:
    """Draw and save the figures, and print the results; the last line is the path of the main figure."""
    names = exported_names(args.exports) if args.experiment == "all" else [args.experiment]
    if not names:
        raise UserError(f"exports={args.exports} holds no table: make one with `python -m lmablate.export`.")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for name in names:
        data = load_exported(args.exports, name)
        paths = {stem: plots.save_figure(figure, args.out / name / stem) for stem, figure in plots.gallery(data)}
        print_table(data, console)
        print(paths[plots.MAIN_FIGURE][0])


if __name__ == "__main__":
    run_key_value_command("lmablate.figures", Arguments, figures)
