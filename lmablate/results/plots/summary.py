"""An experiment as a small table: one row per arm, mean over seeds and standard deviation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table

from lmablate.results.exports import Exported
from lmablate.results.plots.arms import LARGEST, Arm, Arms
from lmablate.results.plots.style import level_name

# Columns that are read at the end of training.
FINAL = {"val loss": "val/loss", "bits/byte": "val/bpb"}
# Columns that are averaged over training.
MEAN = {"grad norm": "grad_norm", "tokens/s": "tokens_per_s"}
DECIMALS = {"val loss": 4, "bits/byte": 4, "grad norm": 3, "tokens/s": 0}


def summary(data: Exported, factors: Sequence[str] = ()) -> pd.DataFrame:
    """Return a table with one row per arm, the lowest validation loss first.

    Finished runs count; for the loss also diverged ones, as runs that learnt nothing. The column `seeds` gives the
    number of finished runs, that of all runs if it is larger, and how many of these diverged.

    Args:
        data: the experiment.
        factors: the order of the factors in the arms' names; those that are not named follow.

    Returns:
        The columns variant, seeds, parameters, and those of FINAL and MEAN as the text "mean ± standard deviation".
    """
    arms = Arms(data, factors)
    rows = [_row(arms, arm) for arm in arms.arms]
    return pd.DataFrame(rows).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def results_table(data: Exported, factors: Sequence[str] = ()) -> Table:
    """Return the `summary` of an experiment for the terminal."""
    frame = summary(data, factors)
    title = f"{data.experiment}: mean over seeds ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in frame.columns:
        table.add_column(column, justify="left" if column == "variant" else "right", no_wrap=True)
    for values in frame.itertuples(index=False):
        table.add_row(*map(str, values))
    return table


def _row(arms: Arms, arm: Arm) -> dict[str, object]:
    numbers = {name: arms.final(metric, arm) for name, metric in FINAL.items()}
    numbers |= {name: _mean_over_training(arms.wide(metric, arm.complete)) for name, metric in MEAN.items()}
    parameters = arm.runs["parameters"].dropna().unique()
    done, started = len(arm.complete), len(arm.runs)
    return {
        "variant": ", ".join(level_name(f, v) for f, v in arm.levels.items()) or arms.data.experiment,
        "seeds": f"{done}" if done == started else f"{done} of {started}{_diverged(arm)}",
        "parameters": f"{int(parameters[0]):,}" if len(parameters) == 1 else "",
        **{name: _mean_and_deviation(values, DECIMALS[name]) for name, values in numbers.items()},
        "order": _order(numbers["val loss"]),
    }


def _diverged(arm: Arm) -> str:
    return f", {len(arm.diverged)} diverged" if arm.diverged else ""


def _mean_over_training(wide: pd.DataFrame) -> pd.Series:
    """Return the mean of each run; infinite where one of its values is too large."""
    too_large = wide.abs() >= LARGEST
    return wide.mask(too_large).mean().mask(too_large.any(), np.inf)


def _order(losses: pd.Series) -> float:
    """Return the mean loss by which arms are sorted; NaN, which comes last, if one is too large."""
    return float("nan") if (losses.abs() >= LARGEST).any() else losses.mean()


def _mean_and_deviation(values: pd.Series, decimals: int) -> str:
    """Return "mean ± standard deviation" over seeds; the mean alone for one seed; empty for none."""
    values = values.dropna()
    if not len(values):
        return ""
    if (values.abs() >= LARGEST).any():
        return "too large"
    numbers = values.to_numpy(dtype=float)
    mean = _number(float(numbers.mean()), decimals)
    return f"{mean} ± {_number(float(numbers.std(ddof=1)), decimals)}" if len(numbers) > 1 else mean


def _number(value: float, decimals: int) -> str:
    """Return a number with these decimals, or with a power of ten if they would show none of it, or very much."""
    plain = value == 0 or 0.5 * 10.0**-decimals <= abs(value) < 1e9
    return f"{value:,.{decimals}f}" if plain else f"{value:.3g}"
