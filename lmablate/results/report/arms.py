"""Finished runs of an experiment by arm and seed, as numbers."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lmablate.results.exports import Exported
from lmablate.results.plots.style import level_name


def done_runs(data: Exported) -> Any:
    """The rows of `data.runs` in state done."""
    return data.runs.loc[data.runs["state"] == "done"]


def final_losses(data: Exported, without: Sequence[str] = ()) -> dict[tuple[str, ...], pd.Series]:
    """Arm (the levels of its factors, in words) -> final validation loss by seed, finished runs only."""
    factors = [factor for factor in data.factors if factor not in without]
    runs = done_runs(data).dropna(subset=["val/loss"])
    words = [runs[factor].map(lambda level, factor=factor: level_name(factor, level)) for factor in factors]
    arms = list(zip(*words, strict=True)) if words else [()] * len(runs)
    losses: dict[tuple[str, ...], pd.Series] = {}
    for arm in dict.fromkeys(arms):
        chosen = runs.loc[[other == arm for other in arms]]
        losses[arm] = pd.Series(chosen["val/loss"].to_numpy(dtype=float), index=chosen["seed"].to_numpy())
    return losses
