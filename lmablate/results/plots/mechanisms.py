"""Figures of mechanisms: profiles over layers or positions, and final loss against learning rate or budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.evidence.facts import BUDGET_FACTORS
from lmablate.results.exports import Exported
from lmablate.results.frames import Scalar, get_column
from lmablate.results.plots.arms import LARGEST, Arm, Arms
from lmablate.results.plots.panels import (
    MOST_COLUMNS,
    add_legend,
    add_note,
    balanced_rows,
    check_panels,
    label_outer,
    name_panel,
    panel_figure,
    seeds_sentence,
)
from lmablate.results.plots.quantities import index_name, profiles
from lmablate.results.plots.scales import NOTE, set_scales
from lmablate.results.plots.style import Look, styled
from lmablate.results.plots.text import drawn
from lmablate.results.plots.ticks import tick_measured, tick_values

LEARNING_RATE = "optim.lr"
# Markers of a line, and of a single point; in points.
MARKER, ALONE = 3.0, 5.0


def profile_figure(data: Exported, pattern: str, look: Look | None = None) -> Figure:
    """Draw a metric of each layer (or position) at the end of training: mean over seeds, band lowest to highest.

    Each setting of the factors behind the first has a panel.

    Args:
        data: the experiment.
        pattern: the metric's name with {i} for the index.
        look: how it is drawn.

    Raises:
        UserError: if there is no such metric, or if the figure would need more than MAX_PANELS panels.
    """
    look = look or Look()
    arms = Arms(data, look.factors)
    metrics = profiles(arms.metrics).get(pattern)
    if metrics is None:
        raise UserError(f"{data.experiment} has no metrics {pattern}.")
    panels, quantity = arms.panels([*metrics.values()]), arms.quantity(pattern)
    check_panels(data.experiment, len(panels))
    with styled():
        figure, grid = panel_figure(look, balanced_rows(len(panels), MOST_COLUMNS[look.width]))
        for axes, (title, members) in zip(grid, panels.items(), strict=True):
            for arm in members:
                _draw_profile(axes, arms, arm, pd.DataFrame({i: arms.final(m, arm) for i, m in metrics.items()}).T)
            name_panel(axes, title, index_name(pattern), quantity.label)
            _show_range(axes, min(metrics), max(metrics))
            tick_measured(axes.xaxis, [*metrics])
        notes = set_scales(grid, look.limits_of(pattern), pattern)
        _finish(figure, grid, arms, look, [*seeds_sentence(arms), *notes])
    return figure


def learning_rate_figure(data: Exported, look: Look | None = None, metric: str = "val/loss") -> Figure:
    """Draw the final loss against the peak learning rate, one line per arm; the best rate of each is ringed.

    A run that diverged counts as one that learnt nothing, and is shown as a cross on the upper edge as well. Each
    setting of the factors behind the first has a panel.

    Args:
        data: the experiment.
        look: how it is drawn.
        metric: the loss.

    Raises:
        UserError: if the learning rate does not vary, or if the figure would need more than MAX_PANELS panels.
    """
    if LEARNING_RATE not in data.factors:
        raise UserError(f"{data.experiment} was trained at one learning rate only.")
    return _final_values_figure(data, look or Look(), metric, _RATE_AXIS)


def budget_figure(data: Exported, look: Look | None = None, metric: str = "val/loss") -> Figure:
    """Draw the final loss against the training FLOPs, one line per arm: each point is a run with a budget of its own.

    Args:
        data: the experiment.
        look: how it is drawn.
        metric: the loss.

    Raises:
        UserError: if no factor sets the budget, or if the figure would need more than MAX_PANELS panels.
    """
    factor = budget_factor(data)
    if factor is None:
        raise UserError(f"{data.experiment} was trained with one budget only.")
    return _final_values_figure(data, look or Look(), metric, _Axis(factor, "training FLOPs", _flops_of))


def budget_factor(data: Exported) -> str | None:
    """Return the factor that sets the budgets of an experiment; None if there is none, or FLOPs are not known."""
    known = "flops_per_token" in data.runs.columns and not get_column(data.runs, "flops_per_token").hasnans
    return next((factor for factor in BUDGET_FACTORS if known and factor in data.factors), None)


@dataclass(frozen=True)
class _Axis:
    """The horizontal axis of a figure of final values.

    Attributes:
        factor: the factor whose values lie on it.
        label: its name.
        place: returns where an arm lies.
        ticks_each: whether each place has a tick, with its number.
        rings: what the legend says of rings around the best value of each line; empty if there are none.
    """

    factor: str
    label: str
    place: Callable[[Arm], float]
    ticks_each: bool = False
    rings: str = ""


def _flops_of(arm: Arm) -> float:
    per_token, tokens = (get_column(arm.runs, key).astype(float) for key in ("flops_per_token", "tokens"))
    return float(np.mean(per_token * tokens))


_RATE_AXIS = _Axis(
    LEARNING_RATE, "peak learning rate", lambda arm: float(arm.levels[LEARNING_RATE]), True, "Ring: the best rate."
)


def _final_values_figure(data: Exported, look: Look, metric: str, axis: _Axis) -> Figure:
    """Draw the final values of arms that are otherwise the same over an axis; each other setting has a panel."""
    arms = Arms(data, look.factors, axis=axis.factor)
    panels: dict[str, dict[Scalar, list[Arm]]] = {}
    for title, members in arms.panels().items():
        for arm in members:
            panels.setdefault(title, {}).setdefault(arm.level, []).append(arm)
    check_panels(data.experiment, len(panels))
    places = sorted({axis.place(arm) for arm in arms.arms})
    with styled():
        figure, grid = panel_figure(look, balanced_rows(len(panels), MOST_COLUMNS[look.width]))
        for axes, (title, levels) in zip(grid, panels.items(), strict=True):
            for same_level in levels.values():
                _draw_final_values(axes, arms, same_level, metric, axis)
            if places[0] > 0:
                axes.set_xscale("log")
            name_panel(axes, title, axis.label, f"final {arms.quantity(metric).label}")
            _show_range(axes, places[0], places[-1])
            if axis.ticks_each:
                tick_measured(axes.xaxis, places)
            else:
                tick_values(axes, axes.xaxis)
        notes = set_scales(grid, look.limits_of(metric), metric)
        if any(arm.diverged for arm in arms.arms):
            notes = ["×: a run diverged, and counts as one that learnt nothing.", *notes]
        _finish(figure, grid, arms, look, [*seeds_sentence(arms), *filter(None, [axis.rings]), *notes])
    return figure


def _show_range(axes: Axes, low: float, high: float) -> None:
    """Set the limits of the horizontal axis, whose scale is set already, with a margin beside the values."""
    if axes.get_xscale() == "log":
        margin = (high / low) ** 0.05 if high > low else 1.5
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = 0.05 * (high - low) or 0.5
        axes.set_xlim(low - margin, high + margin)


def _draw_profile(axes: Axes, arms: Arms, arm: Arm, values: pd.DataFrame) -> None:
    """Draw one line over an index, with its band; values: [index, seed]."""
    values = values.where(values.abs() < LARGEST)
    x, mean = values.index.to_numpy(dtype=float), values.mean(axis=1).to_numpy()
    points = np.isfinite(mean).sum()
    if not points:
        return
    if values.shape[1] > 1:
        axes.fill_between(x, values.min(axis=1), values.max(axis=1), color=arm.colour, alpha=0.18, lw=0)
    size = MARKER if points > 1 else ALONE
    axes.plot(x, mean, "o-", color=arm.colour, ms=size, mew=0, label=drawn(arms.name(arm)))


def _draw_final_values(axes: Axes, arms: Arms, same_level: Sequence[Arm], metric: str, axis: _Axis) -> None:
    """Draw one line over an axis, of arms that are otherwise the same."""
    placed = {axis.place(arm): arm for arm in same_level}
    finals = pd.DataFrame({place: arms.final(metric, placed[place]) for place in sorted(placed)}).T
    first = same_level[0]
    _draw_profile(axes, arms, first, finals)
    means = finals.where(finals.abs() < LARGEST).mean(axis=1).dropna()
    if axis.rings and len(means):
        best = int(means.argmin())
        axes.plot(means.index[best], means.iloc[best], "o", ms=7, mfc="none", mec=first.colour, mew=1.3, label="_")
    for place, arm in placed.items():
        if arm.diverged:
            edge = axes.get_xaxis_transform()
            axes.plot([place], [0.98], "x", color=arm.colour, ms=6, mew=1.6, transform=edge, label=NOTE)


def _finish(figure: Figure, grid: Sequence[Axes], arms: Arms, look: Look, notes: Sequence[str]) -> None:
    label_outer(grid)
    if look.legend:
        add_legend(figure, arms)
    add_note(figure, notes)
