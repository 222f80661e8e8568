"""Draw an experiment: `python -m lmablate.figures experiment=NAME`; --help explains the keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError
from lmablate.files import refuse_foreign
from lmablate.results import plots
from lmablate.results.exports import exported_names, load_exported
from lmablate.results.plots.options import parse_formats, parse_limits, parse_list
from lmablate.results.plots.style import Format, Width
from lmablate.results.plots.summary import results_table
from lmablate.results.terminal import open_console

WIDTH = 120  # of the table, in characters, if the output is not a terminal


@dataclass
class Arguments:
    """Draw the figures of an experiment from its exports, and print its results.

    Nothing is trained.

      python -m lmablate.figures experiment=mine
          from analysis/exports to analysis/figures/mine
      python -m lmablate.figures experiment=mine width=column format=pdf metrics=val/loss limits=val/loss:4:6
          one metric for a paper of two columns, its axis from 4 to 6
    """

    experiment: Annotated[str, "one experiment, or all that have exports"] = "all"
    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    out: Annotated[Path, "the folder of the figures; each experiment has a folder in it"] = Path("analysis/figures")
    metrics: Annotated[str | None, "what is drawn, such as val/loss,dead_units/layer_{i}; null: all with a figure"] = (
        None
    )
    factors: Annotated[str | None, "order of the factors: the first has the colours, the others the panels"] = None
    limits: Annotated[str | None, "METRIC:LOW:HIGH,... sets the ends of an axis; the axis of steps is called step"] = (
        None
    )
    format: Annotated[str, "the formats of the files: png, svg, pdf, several with commas"] = "png,svg"
    width: Annotated[Width, "page (7 inches) or column (3.4 inches, for a page with two columns)"] = "page"
    overwrite: Annotated[bool, "also replace files that are not figures of lmablate"] = False


def draw(args: Arguments, name: str, look: plots.Look, metrics: list[str], formats: list[Format]) -> None:
    """Draw and save the figures of one experiment, and print its results; the last line is the path of the first.

    Raises:
        UserError: if its exports cannot be read, hold nothing to draw, or a figure would replace another file.
    """
    data = load_exported(args.exports, name)
    plan = {args.out / name / stem: draw for stem, draw in plots.plan_gallery(data, metrics, look).items()}
    if not plan:
        raise UserError(f"{name} has nothing to draw: none of its metrics is one of {', '.join(plots.METRICS)}.")
    paths = [path for stem in plan for path in plots.figure_paths(stem, formats)]
    refuse_foreign("out", paths, plots.is_figure, plots.MARK, args.overwrite)
    drawn = [plots.save_figure(draw(), stem, formats) for stem, draw in plan.items()]
    open_console(WIDTH).print(results_table(data, look.factors))
    print(drawn[0][0])


def figures(args: Arguments) -> None:
    """Draw one experiment, or all; those that cannot be drawn are named at the end."""
    look = plots.Look(args.width, parse_list("factors", args.factors), parse_limits(args.limits))
    metrics, formats = parse_list("metrics", args.metrics), parse_formats(args.format)
    names = exported_names(args.exports) if args.experiment == "all" else [args.experiment]
    if not names:
        raise UserError(f"exports={args.exports} holds no table: make one with `python -m lmablate.export`.")
    failed = []
    for name in names:
        try:
            draw(args, name, look, metrics, formats)
        except UserError as error:
            failed.append(str(error))
    if failed:
        raise UserError(" ".join(failed))


if __name__ == "__main__":
    run_key_value_command("lmablate.figures", Arguments, figures)
