"""An experiment as a small table: one row an arm, mean over seeds and standard deviation."""

import pandas as pd

from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arm, Arms
from lmablate.results.plots.style import level_name

LAST = {"val loss": "val/loss", "bits/byte": "val/bpb"}
"""Read at the end of training."""
MEAN = {"grad norm": "grad_norm", "tokens/s": "tokens_per_s"}
"""Averaged over training."""
DECIMALS = {"val loss": 4, "bits/byte": 4, "grad norm": 3, "tokens/s": 0}


def summary(data: Exported, factor: str | None = None) -> pd.DataFrame:
    """One row an arm, the lowest validation loss first: variant, seeds, parameters, then `mean ± sd` as text;
    the gradient norm and the speed are averages over training.

    Only finished runs count; the column `seeds` says how many they are, out of how many.
    """
    arms = Arms(data, factor)
    rows = [_row(arms, arm) for arm in arms.arms]
    return pd.DataFrame(rows).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def _row(arms: Arms, arm: Arm) -> dict[str, object]:
    numbers = {name: arms.final(metric, arm) for name, metric in LAST.items()}
    numbers |= {name: arms.wide(metric, arm.complete).mean() for name, metric in MEAN.items()}
    parameters = arm.runs["parameters"].dropna().unique()
    done, started = len(arm.complete), len(arm.runs)
    return {
        "variant": ", ".join(level_name(f, v) for f, v in arm.levels.items()) or arms.data.experiment,
        "seeds": f"{done}" if done == started else f"{done} of {started}",
        "parameters": f"{int(parameters[0]):,}" if len(parameters) == 1 else "",
        **{name: _spread(values, DECIMALS[name]) for name, values in numbers.items()},
        "order": numbers["val loss"].mean(),
    }


def _spread(values: pd.Series, decimals: int) -> str:
    """`mean ± standard deviation` over seeds; the mean alone for one seed; nothing for none."""
    values = values.dropna()
    if not len(values):
        return ""
    mean = f"{values.mean():,.{decimals}f}"
    return f"{mean} ± {values.std(ddof=1):,.{decimals}f}" if len(values) > 1 else mean
