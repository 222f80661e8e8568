"""The runs of an experiment arm by arm, ready to be drawn."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pandas as pd

from lmablate.errors import UserError
from lmablate.evidence.divergence import LOSSES
from lmablate.results.exports import Exported
from lmablate.results.frames import Scalar, distinct_values, get_column, group_rows, select_rows
from lmablate.results.outcomes import counted_losses, final_metric, has_diverged
from lmablate.results.plots.quantities import Quantity, quantity_of
from lmablate.results.plots.style import Colour, colours_of, level_name, sort_levels

# States of runs that an average may be taken over; a CSV file does not know the state.
COMPLETE = ("done", "unknown")
# Values of this size or more, infinite ones among them, are not drawn: axes compute with their squares.
LARGEST = 1e150


@dataclass(frozen=True)
class Arm:
    """The runs that differ only in their seed.

    Attributes:
        level: the level of the factor that colours stand for.
        levels: the level of each factor.
        colour: the colour of `level`.
        runs: rows of `Exported.runs`.
    """

    level: Scalar
    levels: Mapping[str, Scalar]
    colour: Colour
    runs: pd.DataFrame

    @cached_property
    def complete(self) -> list[str]:
        """Ids of the runs that are finished."""
        return self.runs.loc[self.runs["state"].isin(COMPLETE), "run"].tolist()

    @cached_property
    def incomplete(self) -> list[str]:
        """Ids of the runs that failed or are still running."""
        return self.runs.loc[~self.runs["state"].isin(COMPLETE), "run"].tolist()

    @cached_property
    def diverged(self) -> list[str]:
        """Ids of the runs that diverged."""
        return self.runs.loc[has_diverged(self.runs), "run"].tolist()


class Arms:
    """Every arm of an experiment.

    Attributes:
        data: the experiment.
        factor: the factor that colours stand for; empty if no factor varies.
        others: the factors that divide the figure into panels.
        levels: the levels of `factor`, in order.
        colours: colour by level. If no factor varies, the colour is that of an arm called like the experiment.
        arms: the arms, in the order of the levels of each factor.
    """

    def __init__(self, data: Exported, factors: Sequence[str] = (), axis: str | None = None):
        """Group the runs.

        Args:
            data: the experiment.
            factors: the order of the factors, of which the first has the colours and the others make the panels; those
                that are not named follow.
            axis: a factor that the figure has on its x axis. It distinguishes arms, but neither colours nor panels.

        Raises:
            UserError: if one of `factors` does not vary.
        """
        self.data = data
        self._counted: dict[str, dict[str, float]] = {}
        for name in factors:
            if name not in data.factors:
                known = f"choose from {', '.join(data.factors)}" if data.factors else "it has no factor"
                raise UserError(f"factors={name} does not vary in {data.experiment}: {known}.")
        ordered = [name for name in dict.fromkeys([*factors, *data.factors]) if name != axis]
        self.factor, self.others = (ordered[0], ordered[1:]) if ordered else ("", [])
        self.levels: list[Scalar] = [""]
        self.colours: dict[Scalar, Colour] = {"": colours_of([data.experiment])[data.experiment]}
        if self.factor:
            self.levels = sort_levels(data.runs[self.factor].unique().tolist())
            self.colours = colours_of(self.levels)
        ranks = {name: sort_levels(data.runs[name].unique().tolist()) for name in data.factors}
        self.arms = sorted(
            self._group_runs(), key=lambda arm: [ranks[name].index(level) for name, level in arm.levels.items()]
        )

    def _group_runs(self) -> list[Arm]:
        ordered = [name for name in [self.factor, *self.others] if name]
        names = [*ordered, *(name for name in self.data.factors if name not in ordered)]
        groups = group_rows(self.data.runs, names) if names else [((), self.data.runs)]
        arms = []
        for values, runs in groups:
            levels = dict(zip(names, values, strict=True))
            level = levels.get(self.factor, "")
            arms.append(Arm(level, levels, self.colours[level], runs))
        return arms

    def panels(self, metrics: Sequence[str] = ()) -> dict[str, list[Arm]]:
        """Return the arms of each panel, by its title. Arms of a panel differ in `factor` and the axis alone.

        Args:
            metrics: panels of arms that have none of them are left out, unless no panel would be left.
        """
        panels: dict[str, list[Arm]] = {}
        for arm in self.arms:
            title = ", ".join(level_name(name, arm.levels[name]) for name in self.others)
            panels.setdefault(title, []).append(arm)
        measured = {*chain(*(self.data.metrics.rows(metric)["run"].unique() for metric in metrics))}
        shown = {
            title: members for title, members in panels.items() if any(measured & {*arm.runs["run"]} for arm in members)
        }
        return shown or panels

    def name(self, arm: Arm) -> str:
        """Return the arm's level in words; the experiment's name if no factor varies."""
        return level_name(self.factor, arm.level) if self.factor else self.data.experiment

    @property
    def names(self) -> dict[Scalar, str]:
        """The names of the levels that have runs, by level, in order."""
        return {arm.level: self.name(arm) for arm in self.arms}

    def quantity(self, metric: str) -> Quantity:
        """Return name and unit of a metric, or of a pattern of metrics."""
        return quantity_of(metric, self.data.declared)

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, sorted."""
        return self.data.metrics.names

    def wide(self, metric: str, runs: Collection[str]) -> pd.DataFrame:
        """Return one metric as a table of steps by runs; empty if none of the runs has it."""
        return self.data.metrics.wide(metric, runs)

    def drawable(self, metric: str, runs: Collection[str]) -> pd.DataFrame:
        """Return the same as `wide`, with NaN for a value that no axis can show."""
        wide = self.wide(metric, runs)
        return wide.where(wide.abs() < LARGEST)

    def final(self, metric: str, arm: Arm) -> pd.Series:
        """Return the last value of each complete run of the arm; of a loss also what its diverged runs count as."""
        if metric in LOSSES:
            losses = self._losses(metric)
            return pd.Series({run: losses[run] for run in [*arm.complete, *arm.diverged] if run in losses}, dtype=float)
        wide = self.wide(final_metric(self.data, metric, COMPLETE), arm.complete)
        return wide.ffill().iloc[-1] if len(wide) else pd.Series(dtype=float)

    def _losses(self, metric: str) -> dict[str, float]:
        if metric not in self._counted:
            self._counted[metric] = counted_losses(self.data, metric, COMPLETE)
        return self._counted[metric]

    @property
    def last_step(self) -> int:
        """The last step at which anything was logged."""
        return self.data.metrics.last_step

    @cached_property
    def warmup_ends(self) -> dict[Scalar, int]:
        """The step at which warm-up ends by level, for levels that have one and whose runs agree."""
        known = self.data.runs.dropna(subset=["warmup_steps"])
        known = select_rows(known, known["warmup_steps"] > 0)
        ends: dict[Scalar, set[int]] = {}
        levels = get_column(known, self.factor) if self.factor else [""] * len(known)
        for level, steps in zip(levels, known["warmup_steps"], strict=True):
            ends.setdefault(level, set()).add(int(steps))
        return {level: steps.pop() for level, steps in ends.items() if len(steps) == 1}

    @cached_property
    def tokens_per_step(self) -> float | None:
        """Training tokens per optimizer step; None if it is unknown or not the same for all runs."""
        ratios = distinct_values(get_column(self.data.runs, "tokens") / get_column(self.data.runs, "max_steps"))
        return float(ratios[0]) if len(ratios) == 1 and 0 < float(ratios[0]) < np.inf else None
