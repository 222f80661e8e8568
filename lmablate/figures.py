"""Draw an experiment: `python -m lmablate.figures experiment=NAME`; --help explains."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from lmablate import arguments, plots
from lmablate.errors import UserError
from lmablate.exports import Exported, exported, load
from lmablate.plots.arms import Arms

MAIN = "overview"


@dataclass
class Arguments:
    """Draws the figures of an experiment from its exports, as PNG and SVG, and prints its results."""

    experiment: Annotated[str, "one experiment, or all that have exports"] = "all"
    exports: Annotated[Path, "where `lmablate.export` wrote the tables"] = Path("analysis/exports")
    out: Annotated[Path, "where the figures go, in a folder per experiment"] = Path("analysis/figures")


def figures_of(data: Exported) -> Iterator[tuple[str, Figure]]:
    """Every figure that the experiment's measurements allow, by file name."""
    arms = Arms(data)
    yield MAIN, plots.overview_figure(data)
    for metric in plots.METRICS:
        if metric in arms.metrics:
            name = metric.replace("/", "_")
            yield name, plots.curve_figure(data, metric)
            if plots.has_steps_after_warmup(arms):
                yield f"{name}_after_warmup", plots.curve_figure(data, metric, cut=True)
    for pattern in plots.profiles(arms.metrics):
        yield pattern.replace("/", "_").replace("_{i}", ""), plots.profile_figure(data, pattern)
    if "optim.lr" in data.factors:
        yield "learning_rate", plots.learning_rate_figure(data)


def print_table(data: Exported, console: Console) -> None:
    frame = plots.summary(data)
    table = Table(title=data.experiment, title_justify="left")
    for column in frame.columns:
        table.add_column(column, justify="left" if column == "variant" else "right")
    for values in frame.itertuples(index=False):
        table.add_row(*map(str, values))
    console.print(table)


def figures(args: Arguments) -> None:
    """Draws, saves and prints; the last line is the path of the main figure."""
    names = exported(args.exports) if args.experiment == "all" else [args.experiment]
    if not names:
        raise UserError(f"exports={args.exports} holds no table: make one with `python -m lmablate.export`.")
    for name in names:
        data = load(args.exports, name)
        paths = {stem: plots.save(figure, args.out / name / stem) for stem, figure in figures_of(data)}
        print_table(data, Console())
        print(paths[MAIN][0])


if __name__ == "__main__":
    arguments.run("lmablate.figures", Arguments, figures)
