"""The runs of an experiment arm by arm, ready to be drawn."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lmablate.errors import UserError
from lmablate.results.exports import Exported
from lmablate.results.plots.style import colours, in_order, level_name

COMPLETE = ("done", "unknown")
"""States of runs that an average may be taken over; a CSV file does not know the state."""


@dataclass(frozen=True)
class Arm:
    """The runs that differ in nothing but their seed.

    level: what the arm's colour stands for; levels: all its factors; runs: rows of `Exported.runs`.
    """

    level: Any
    levels: Mapping[str, Any]
    colour: Any
    runs: pd.DataFrame

    @property
    def complete(self) -> list[str]:
        return self.runs.loc[self.runs["state"].isin(COMPLETE), "run"].tolist()

    @property
    def incomplete(self) -> list[str]:
        return self.runs.loc[~self.runs["state"].isin(COMPLETE), "run"].tolist()

    @property
    def diverged(self) -> list[str]:
        errors = self.runs["error"].astype("string").fillna("")
        return self.runs.loc[errors.str.contains("diverged at step"), "run"].tolist()


class Arms:
    """Every arm of an experiment.

    factor: the one that colours stand for; by default the first. Raises UserError where it does not vary.
    """

    def __init__(self, data: Exported, factor: str | None = None):
        self.data = data
        factors = data.factors
        if factor is not None and factor not in factors:
            raise UserError(f"factor={factor} does not vary in {data.experiment}: choose one of {', '.join(factors)}.")
        self.factor = factor or (factors[0] if factors else "")
        self.others = [name for name in factors if name != self.factor]
        self.levels = in_order(data.runs[self.factor].unique().tolist()) if self.factor else [""]
        self.colours = colours(self.levels)
        self.arms = self.by([self.factor, *self.others] if self.factor else [])

    def by(self, factors: list[str]) -> list[Arm]:
        if not factors:
            return [Arm("", {}, self.colours[""], self.data.runs)]
        groups: Any = self.data.runs.groupby(factors, sort=True, dropna=False)
        arms = [Arm(key[0], dict(zip(factors, key, strict=True)), self.colours[key[0]], runs) for key, runs in groups]
        return sorted(arms, key=lambda arm: self.levels.index(arm.level))

    def panels(self) -> dict[str, list[Arm]]:
        """The arms that belong into one panel, those that differ in `factor` alone, by the panel's title."""
        panels: dict[str, list[Arm]] = {}
        for arm in self.arms:
            title = ", ".join(level_name(name, arm.levels[name]) for name in self.others)
            panels.setdefault(title, []).append(arm)
        return panels

    def name(self, arm: Arm) -> str:
        return level_name(self.factor, arm.level) if self.factor else self.data.experiment

    @property
    def metrics(self) -> list[str]:
        return self.data.metrics.names

    def wide(self, metric: str, runs: Collection[str]) -> pd.DataFrame:
        """Steps x runs; empty where none of the runs has the metric."""
        return self.data.metrics.wide(metric, runs)

    def final(self, metric: str, arm: Arm) -> pd.Series:
        """The last value of each complete run of the arm."""
        wide = self.wide(metric, arm.complete)
        return wide.ffill().iloc[-1] if len(wide) else pd.Series(dtype=float)

    @property
    def last_step(self) -> int:
        return self.data.metrics.last_step

    @property
    def warmup_ends(self) -> dict[Any, int]:
        """Level -> the step where its warm-up ends, for levels whose runs agree."""
        known = self.data.runs.dropna(subset=["warmup_steps"])
        ends: dict[Any, set[int]] = {}
        levels = known[self.factor] if self.factor else [""] * len(known)
        for level, steps in zip(levels, known["warmup_steps"], strict=True):
            ends.setdefault(level, set()).add(int(steps))
        return {level: steps.pop() for level, steps in ends.items() if len(steps) == 1}

    @property
    def tokens_per_step(self) -> float | None:
        """None where the runs differ or do not say."""
        ratios: Any = (self.data.runs["tokens"] / self.data.runs["max_steps"]).dropna().unique()
        return float(ratios[0]) if len(ratios) == 1 and 0 < ratios[0] < np.inf else None
