"""Draw an experiment: `python -m lmablate.figures experiment=NAME`; --help explains the keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich import box
from rich.table import Table

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError
from lmablate.files import refuse_foreign
from lmablate.results import plots
from lmablate.results.exports import Exported, exported_names, load_exported
from lmablate.results.terminal import open_console

# Width of the table, in characters, if the output is not a terminal.
WIDTH = 120


@dataclass
class Arguments:
    """Draw the figures of an experiment from its exports, as PNG and SVG files, and print its results.

    Nothing is trained.

      python -m lmablate.figures experiment=mine
          from analysis/exports to analysis/figures/mine
      python -m lmablate.figures exports=tables out=figures
          all experiments that have tables in a folder
    """

    experiment: Annotated[str, "one experiment, or all that have exports"] = "all"
    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    out: Annotated[Path, "the folder of the figures; each experiment has a folder in it"] = Path("analysis/figures")
    overwrite: Annotated[bool, "also replace files that are not figures of lmablate"] = False


def results_table(data: Exported) -> Table:
    """Return the experiment's results, one row per arm."""
    frame = plots.summary(data)
    title = f"{data.experiment}: mean over seeds ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in frame.columns:
        table.add_column(column, justify="left" if column == "variant" else "right", no_wrap=True)
    for values in frame.itertuples(index=False):
        table.add_row(*map(str, values))
    return table


def draw(args: Arguments, name: str) -> None:
    """Draw and save the figures of one experiment, and print its results; the last line is the path of the first.

    Raises:
        UserError: if its exports cannot be read, hold nothing to draw, or a figure would replace another file.
    """
    data = load_exported(args.exports, name)
    plan = {args.out / name / stem: draw for stem, draw in plots.plan_gallery(data).items()}
    if not plan:
        raise UserError(f"{name} has nothing to draw: none of its metrics is one of {', '.join(plots.METRICS)}.")
    paths = [path for stem in plan for path in plots.figure_paths(stem)]
    refuse_foreign("out", paths, plots.is_figure, plots.MARK, args.overwrite)
    drawn = [plots.save_figure(draw(), stem) for stem, draw in plan.items()]
    open_console(WIDTH).print(results_table(data))
    print(drawn[0][0])


def figures(args: Arguments) -> None:
    """Draw one experiment, or all; those that cannot be drawn are named at the end."""
    names = exported_names(args.exports) if args.experiment == "all" else [args.experiment]
    if not names:
        raise UserError(f"exports={args.exports} holds no table: make one with `python -m lmablate.export`.")
    failed = []
    for name in names:
        try:
            draw(args, name)
        except UserError as error:
            failed.append(str(error))
    if failed:
        raise UserError(" ".join(failed))


if __name__ == "__main__":
    run_key_value_command("lmablate.figures", Arguments, figures)
