"""The effects of parts, crossed or one at a time: read from exports, as a table, and in words."""

from pathlib import Path

import pandas as pd
from rich.table import Table

from lmablate.errors import UserError
from lmablate.evidence.factorial import Effect, Factorial, analyse_factorial
from lmablate.evidence.one_at_a_time import OneAtATime
from lmablate.results.exports import Exported, load_exported
from lmablate.results.exports.recorded import printable
from lmablate.results.frames import Scalar, get_column, group_rows, select_columns, select_rows
from lmablate.results.outcomes import final_metric
from lmablate.results.terminal import open_console

# An experiment that crosses so many factors asks which of them matters most.
FEWEST_FACTORS = 4
# What a fraction of a design cannot show if it is just large enough.
SATURATED = (
    "There are as many effects as these arms can tell apart: an interaction that is not among them looks like some of "
    "them, and one odd arm looks like many interactions. All arms of the design would show it."
)
# The first row of the table, by which it is known as ours.
_COLUMNS = ("effect", "value", "low", "high", "p", "adjusted_p")


def read_design(exports: Path, experiment: str, metric: str) -> pd.DataFrame:
    """Return one row per finished run: its factors, its seed, and its reading.

    Args:
        exports: the folder of the exports.
        experiment: the experiment.
        metric: the reading is its last value.

    Raises:
        UserError: if the exports are missing, have no such metric, or an arm without a finished run.
    """
    return readings_of(load_exported(exports, experiment), metric)


def find_effects(data: Exported, metric: str) -> Factorial | None:
    """Return the effects of an experiment that crosses FEWEST_FACTORS or more; None if it is no such design.

    Args:
        data: the experiment.
        metric: the reading is its last value.
    """
    if len(data.factors) < FEWEST_FACTORS:
        return None
    try:
        return analyse_factorial(readings_of(data, metric))
    except UserError:  # arms without a run, or too few arms
        return None


def readings_of(data: Exported, metric: str) -> pd.DataFrame:
    """Return one row per finished run: its factors, its seed, and its reading.

    Args:
        data: the experiment.
        metric: the reading is its last value.

    Raises:
        UserError: if the experiment has no such metric, or an arm no finished run.
    """
    rows = data.metrics.rows(final_metric(data, metric))
    if not len(rows):
        raise UserError(f"metric={metric} is not in the exports of {data.experiment}.")
    last = {run: float(of_run["value"].iloc[-1]) for (run,), of_run in group_rows(rows.sort_values("step"), ["run"])}
    runs = select_rows(data.runs, data.runs["state"] == "done")
    for arm in _arms(data.runs, data.factors) - _arms(runs, data.factors):
        words = ", ".join(f"{factor}={level}" for factor, level in zip(data.factors, arm, strict=True))
        raise UserError(f"The arm {words} has no finished run: finish one, or export without it.")
    readings = select_columns(runs, [*data.factors, "seed"])
    return readings.assign(value=[last.get(run, float("nan")) for run in get_column(runs, "run")])


def _arms(runs: pd.DataFrame, factors: list[str]) -> set[tuple[Scalar, ...]]:
    return {arm for arm, _ in group_rows(runs, factors)} if factors else set()


def effects_table(found: Factorial | OneAtATime) -> pd.DataFrame:
    """Return all effects, one row each.

    Args:
        found: the analysis.
    """
    rows = [effect for _, effects in _titled(found) for effect in effects]
    return pd.DataFrame([(e.name, e.value, *e.interval, e.p, e.adjusted) for e in rows], columns=[*_COLUMNS])


def _titled(found: Factorial | OneAtATime) -> list[tuple[str, list[Effect]]]:
    if isinstance(found, OneAtATime):
        return [(f"Effects of {found.factor}", found.effects)]
    return [("Main effects", found.main), ("Interactions", found.interactions), ("Where", found.simple)]


def print_effects(found: Factorial | OneAtATime) -> None:
    """Print the effects, and for a factorial the shares of the variance."""
    console = open_console(120)
    for title, rows in _titled(found):
        if rows:
            console.print(_printed(title, rows))
    if isinstance(found, OneAtATime):
        return
    if found.is_saturated:
        console.print(SATURATED)
    for share in found.shares:
        low, high = share.interval
        console.print(f"{share.term}: {share.share:.1%} of the variance among arms ({low:.1%} to {high:.1%})")


def _printed(title: str, rows: list[Effect]) -> Table:
    table = Table("effect", "value", "95 % interval", "p", "corrected", title=title)
    for row in rows:
        low, high = row.interval
        adjusted = f"{row.adjusted:.2g}" if row.adjusted == row.adjusted else ""
        table.add_row(printable(row.name), f"{row.value:+.4f}", f"{low:+.4f}, {high:+.4f}", f"{row.p:.2g}", adjusted)
    return table


def is_effects_table(path: Path) -> bool:
    """Return whether a file is a table of effects."""
    return path.read_bytes().startswith(",".join(_COLUMNS).encode())
