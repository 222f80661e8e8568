"""Figures of mechanisms: profiles over layers or positions, and loss against learning rate."""

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.results.exports import Exported
from lmablate.results.frames import Scalar
from lmablate.results.plots.arms import LARGEST, Arm, Arms
from lmablate.results.plots.panels import GREY, add_legend, check_panels, label_outer, name_panel, panel_grid
from lmablate.results.plots.style import index_name, metric_name, styled
from lmablate.results.plots.text import drawn
from lmablate.results.plots.ticks import tick_counts, tick_values

# Stands for the index in the name of a metric.
INDEX = "{i}"
LEARNING_RATE = "optim.lr"


def profiles(metrics: Sequence[str]) -> dict[str, list[int]]:
    """Return the patterns among the metrics' names, such as "dead_units/layer_{i}", each with its sorted indices."""
    found: dict[str, list[int]] = {}
    for metric in metrics:
        if match := re.search(r"\d+(?=x?$)", metric):
            found.setdefault(metric[: match.start()] + INDEX + metric[match.end() :], []).append(int(match[0]))
    return {pattern: sorted(indices) for pattern, indices in found.items() if len(indices) > 1}


def profile_figure(data: Exported, pattern: str, factor: str | None = None) -> Figure:
    """Draw a metric of each layer (or position) at the end of training: mean over seeds, band lowest to highest.

    Args:
        data: the experiment.
        pattern: the metric's name with {i} for the index.
        factor: the factor that colours stand for, by default the first. Each setting of the other factors has a panel.

    Raises:
        UserError: if there is no such metric, or if the figure would need more than MAX_PANELS panels.
    """
    arms = Arms(data, factor)
    indices = profiles(arms.metrics).get(pattern)
    if indices is None:
        raise UserError(f"{data.experiment} has no metrics {pattern}.")
    panels = arms.panels()
    check_panels(data.experiment, len(panels))
    with styled():
        columns = min(2, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(2.9 * columns + 1.4, 2.3 * rows + 0.6), layout="constrained")
        grid = panel_grid(figure, len(panels), columns)
        for axes, (title, members) in zip(grid, panels.items(), strict=True):
            for arm in members:
                finals = {i: arms.final(pattern.replace(INDEX, str(i)), arm) for i in indices}
                _draw_profile(axes, arms, arm, pd.DataFrame(finals).T)
            name_panel(axes, title, metric_name(pattern))
            axes.set_xlabel(index_name(pattern))
            tick_counts(axes.xaxis)
            tick_values(axes, axes.yaxis)
        label_outer(grid, columns)
        _finish(figure, arms)
    return figure


def learning_rate_figure(data: Exported, factor: str | None = None, metric: str = "val/loss") -> Figure:
    """Draw the final loss against the peak learning rate, one line per arm; the best rate of each is ringed.

    A run that diverged has no final loss and is shown as a cross on the upper edge.

    Args:
        data: the experiment.
        factor: the factor that colours stand for, by default the first. Each setting of the other factors has a panel.
        metric: the loss.

    Raises:
        UserError: if the learning rate does not vary, or if the figure would need more than MAX_PANELS panels.
    """
    if LEARNING_RATE not in data.factors:
        raise UserError(f"{data.experiment} was trained at one learning rate only.")
    arms = Arms(data, factor, axis=LEARNING_RATE)
    panels: dict[str, dict[Scalar, list[Arm]]] = {}
    for title, members in arms.panels().items():
        for arm in members:
            panels.setdefault(title, {}).setdefault(arm.level, []).append(arm)
    check_panels(data.experiment, len(panels))
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    with styled():
        figure = Figure(figsize=(2.9 * columns + 1.4, 2.3 * rows + 0.7), layout="constrained")
        grid = panel_grid(figure, len(panels), columns)
        for axes, (title, levels) in zip(grid, panels.items(), strict=True):
            for same_level in levels.values():
                _draw_sensitivity(axes, arms, same_level, metric)
            if min(data.runs[LEARNING_RATE]) > 0:
                axes.set_xscale("log")
            name_panel(axes, title, f"final {metric_name(metric)}")
            axes.set_xlabel("peak learning rate")
            tick_values(axes, axes.xaxis)
            tick_values(axes, axes.yaxis)
        label_outer(grid, columns)
        _finish(figure, arms)
    return figure


def _draw_profile(axes: Axes, arms: Arms, arm: Arm, values: pd.DataFrame) -> None:
    """Draw one line over an index, with its band; values: [index, seed]."""
    values = values.where(values.abs() < LARGEST)
    x, mean = values.index.to_numpy(dtype=float), values.mean(axis=1).to_numpy()
    if not np.isfinite(mean).any():
        return
    if values.shape[1] > 1:
        axes.fill_between(x, values.min(axis=1), values.max(axis=1), color=arm.colour, alpha=0.18, lw=0)
    axes.plot(x, mean, "o-", color=arm.colour, ms=3, mew=0, label=drawn(arms.name(arm)))


def _draw_sensitivity(axes: Axes, arms: Arms, same_level: Sequence[Arm], metric: str) -> None:
    """Draw one line over the learning rates of arms that are otherwise the same."""
    rates = {float(arm.levels[LEARNING_RATE]): arm for arm in same_level}
    finals = pd.DataFrame({rate: arms.final(metric, rates[rate]) for rate in sorted(rates)}).T
    first = same_level[0]
    _draw_profile(axes, arms, first, finals)
    means = finals.where(finals.abs() < LARGEST).mean(axis=1).dropna()
    if len(means):
        best = int(means.argmin())
        axes.plot(means.index[best], means.iloc[best], "o", ms=7, mfc="none", mec=first.colour, mew=1.3)
    for rate, arm in rates.items():
        if arm.diverged:
            axes.plot([rate], [0.98], "x", color=arm.colour, ms=6, mew=1.6, transform=axes.get_xaxis_transform())


def _finish(figure: Figure, arms: Arms) -> None:
    add_legend(figure, arms)
    seeds = max(len(arm.complete) for arm in arms.arms)
    if seeds > 1:
        note = f"Line: mean over {seeds} seeds; band: lowest to highest seed."
        figure.supxlabel(note, x=0.01, ha="left", fontsize=6, color=GREY)
