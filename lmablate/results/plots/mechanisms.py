"""Figures of mechanisms: profiles over layers or positions, and loss against learning rate."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.results.exports import Exported
from lmablate.results.frames import Scalar
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
from lmablate.results.plots.ticks import tick_measured

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
    look = look or Look()
    if LEARNING_RATE not in data.factors:
        raise UserError(f"{data.experiment} was trained at one learning rate only.")
    arms = Arms(data, look.factors, axis=LEARNING_RATE)
    panels: dict[str, dict[Scalar, list[Arm]]] = {}
    for title, members in arms.panels().items():
        for arm in members:
            panels.setdefault(title, {}).setdefault(arm.level, []).append(arm)
    check_panels(data.experiment, len(panels))
    rates = sorted({float(rate) for rate in data.runs[LEARNING_RATE]})
    with styled():
        figure, grid = panel_figure(look, balanced_rows(len(panels), MOST_COLUMNS[look.width]))
        for axes, (title, levels) in zip(grid, panels.items(), strict=True):
            for same_level in levels.values():
                _draw_sensitivity(axes, arms, same_level, metric)
            if rates[0] > 0:
                axes.set_xscale("log")
            name_panel(axes, title, "peak learning rate", f"final {arms.quantity(metric).label}")
            _show_range(axes, rates[0], rates[-1])
            tick_measured(axes.xaxis, rates)
        notes = set_scales(grid, look.limits_of(metric), metric)
        crosses = (
            ["×: a run diverged, and counts as one that learnt nothing."]
            if any(arm.diverged for arm in arms.arms)
            else []
        )
        _finish(figure, grid, arms, look, [*seeds_sentence(arms), "Ring: the best rate.", *crosses, *notes])
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


def _draw_sensitivity(axes: Axes, arms: Arms, same_level: Sequence[Arm], metric: str) -> None:
    """Draw one line over the learning rates of arms that are otherwise the same."""
    rates = {float(arm.levels[LEARNING_RATE]): arm for arm in same_level}
    finals = pd.DataFrame({rate: arms.final(metric, rates[rate]) for rate in sorted(rates)}).T
    first = same_level[0]
    _draw_profile(axes, arms, first, finals)
    means = finals.where(finals.abs() < LARGEST).mean(axis=1).dropna()
    if len(means):
        best = int(means.argmin())
        axes.plot(means.index[best], means.iloc[best], "o", ms=7, mfc="none", mec=first.colour, mew=1.3, label="_")
    for rate, arm in rates.items():
        if arm.diverged:
            edge = axes.get_xaxis_transform()
            axes.plot([rate], [0.98], "x", color=arm.colour, ms=6, mew=1.6, transform=edge, label=NOTE)


def _finish(figure: Figure, grid: Sequence[Axes], arms: Arms, look: Look, notes: Sequence[str]) -> None:
    label_outer(grid)
    if look.legend:
        add_legend(figure, arms)
    add_note(figure, notes)
