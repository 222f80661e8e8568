"""Metrics over training: the smoothed mean over seeds, its band, and the raw values pale underneath."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.errors import UserError, counted
from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arm, Arms
from lmablate.results.plots.labels import label_lines, labels_fit
from lmablate.results.plots.panels import (
    GREY,
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
from lmablate.results.plots.scales import NOTE, RAW, set_scales
from lmablate.results.plots.smooth import envelope, two_sided_ema
from lmablate.results.plots.style import STEPS, STYLE, Look, styled
from lmablate.results.plots.text import drawn
from lmablate.results.plots.ticks import tick_counts

X_LABEL = "optimizer steps"
# Half-life of the smoothing, as a fraction of the run.
HALF_LIFE = 0.01
# A metric with fewer points per run than this, such as an evaluation, is not smoothed.
DENSE = 50
# How a line of one point is drawn: on the edge of the axes it is not cut.
SINGLE_POINT: dict[str, Any] = {"marker": "o", "ms": 5, "clip_on": False}


def curve_figure(data: Exported, metric: str, look: Look | None = None, cut: bool = False) -> Figure:
    """Draw one metric over the optimizer's steps. Each setting of the factors behind the first has a panel.

    Args:
        data: the experiment.
        metric: the name of the metric.
        look: how it is drawn.
        cut: leave out the steps before the end of warm-up.

    Raises:
        UserError: if there is nothing to draw, or if the figure would need more than MAX_PANELS panels.
    """
    look = look or Look()
    arms = Arms(data, look.factors)
    if metric not in arms.metrics:
        raise UserError(f"{data.experiment} has no metric {metric}: it has {', '.join(arms.metrics)}.")
    if cut and not has_steps_after_warmup(arms):
        raise UserError(f"{data.experiment} has no steps after warm-up to cut to.")
    panels = arms.panels([metric])
    check_panels(data.experiment, len(panels))
    with styled():
        figure, grid = panel_figure(look, balanced_rows(len(panels), MOST_COLUMNS[look.width]))
        notes: list[str] = []
        for axes, (title, members) in zip(grid, panels.items(), strict=True):
            notes += draw_curves(axes, arms, members, metric, look, cut)
            name_panel(axes, title, X_LABEL, arms.quantity(metric).label)
        notes += set_scales(grid, look.limits_of(metric), metric)
        label_outer(grid)
        if len(panels) == 1:
            _add_token_axis(grid[0], arms)
        add_note(figure, notes)
        if look.legend:
            _add_names(figure, grid, arms)
    return figure


def _add_names(figure: Figure, grid: Sequence[Axes], arms: Arms) -> None:
    """Name the arms at the ends of their lines if there is one panel with room beside it, else in a legend."""
    if len(grid) == 1 and labels_fit(grid[0]):
        label_lines(grid[0])
    else:
        add_legend(figure, arms)


def has_steps_after_warmup(arms: Arms) -> bool:
    """Return whether more than a tenth of the run comes after the longest warm-up."""
    ends = arms.warmup_ends.values()
    return bool(ends) and max(ends) < 0.9 * arms.last_step


def draw_curves(axes: Axes, arms: Arms, members: Sequence[Arm], metric: str, look: Look, cut: bool) -> list[str]:
    """Draw a metric of some arms over training, and lines at the ends of their warm-ups.

    Args:
        axes: the panel.
        arms: all arms.
        members: those of the panel.
        metric: the name of the metric.
        look: how it is drawn.
        cut: leave out the steps before the end of warm-up.

    Returns:
        Sentences for the note below the figure, about lines, bands, dashes and crosses.
    """
    start = max(arms.warmup_ends.values()) if cut else 0
    for arm in members:
        _draw_complete(axes, arms, arm, metric, start, look.points)
        _draw_incomplete(axes, arms, arm, metric, start, look.points)
    if not axes.get_lines():
        axes.text(0.5, 0.5, "no values", color=GREY, ha="center", va="center", transform=axes.transAxes)
    low, high = look.limits_of(STEPS)
    low, high = start if low is None else low, max(arms.last_step, start + 1) if high is None else high
    if low >= high:
        raise UserError(f"limits={STEPS} from {low:g} to {high:g} are not allowed: the lower one must be below.")
    axes.set_xlim(low, high)
    tick_counts(axes.xaxis)
    ends = {level: step for level, step in arms.warmup_ends.items() if low < step < high and not cut}
    common = len({*ends.values()}) == 1
    for level, step in [*ends.items()][:1] if common else ends.items():
        colour = GREY if common else arms.colours[level]
        axes.axvline(step, color=colour, lw=0.7, ls=(0, (4, 3)), zorder=0.5, label=NOTE)
    return _notes(arms, metric, bool(ends))


def _draw_complete(axes: Axes, arms: Arms, arm: Arm, metric: str, start: int, points: int) -> None:
    """Draw the mean over seeds, a band from the lowest to the highest seed, and the raw mean pale below."""
    raw = arms.drawable(metric, arm.complete).dropna()
    if raw.empty:
        return
    dense = len(raw) >= DENSE
    smooth = _smoothed(raw, arms) if dense else raw
    raw, smooth = raw.loc[raw.index >= start], smooth.loc[smooth.index >= start]
    if smooth.empty:
        return
    steps, mean = smooth.index.to_numpy(), smooth.mean(axis=1).to_numpy()
    if dense:
        x, y = envelope(raw.index.to_numpy(), raw.mean(axis=1).to_numpy(), points // 2)
        axes.plot(x, y, color=arm.colour, alpha=0.22, lw=0.6, zorder=1, label=RAW)
    if smooth.shape[1] > 1:
        low, high = smooth.min(axis=1).to_numpy(), smooth.max(axis=1).to_numpy()
        x, low, high = _thin(points, steps, low, high)
        axes.fill_between(x, low, high, color=arm.colour, alpha=0.18, lw=0, zorder=1.5)
    marks = SINGLE_POINT if len(steps) == 1 else {"marker": "" if dense else "o", "ms": 2.6}
    axes.plot(*_thin(points, steps, mean), **marks, color=arm.colour, mew=0, zorder=2, label=drawn(arms.name(arm)))


def _thin(points: int, *columns: np.ndarray) -> list[np.ndarray]:
    """Return at most `points` rows of the columns, the last among them: a smooth curve needs no more."""
    n = len(columns[0])
    chosen = np.arange(n - 1, -1, -max(1, math.ceil(n / points)))[::-1]
    return [column[chosen] for column in columns]


def _draw_incomplete(axes: Axes, arms: Arms, arm: Arm, metric: str, start: int, points: int) -> None:
    """Draw each run that failed or is still running; a cross where a diverged one was last finite."""
    if not arm.incomplete:
        return
    wide = arms.drawable(metric, arm.incomplete)
    for run in wide.columns:
        series = wide.loc[np.isfinite(wide[run]), [run]]
        curve = _smoothed(series, arms) if len(series) >= DENSE else series
        curve = curve.loc[curve.index >= start, run]
        if curve.empty:
            continue
        label = "_" if arm.complete or run != wide.columns[0] else drawn(arms.name(arm))
        x, y = _thin(points, curve.index.to_numpy(), curve.to_numpy())
        marks = SINGLE_POINT if len(x) == 1 else {}
        axes.plot(x, y, **marks, color=arm.colour, lw=0.9, ls=(0, (3, 1.5)), zorder=1.8, label=label)
        if run in arm.diverged:
            end = curve.index[-1:]
            axes.plot(end, curve.iloc[-1:], "x", color=arm.colour, ms=7, mew=1.8, zorder=3, clip_on=False, label="_")


def _smoothed(wide: pd.DataFrame, arms: Arms) -> pd.DataFrame:
    smooth = two_sided_ema(wide.index.to_numpy(), wide.to_numpy(), _half_life(arms))
    return pd.DataFrame(smooth, index=wide.index, columns=wide.columns)


def _half_life(arms: Arms) -> int:
    return max(1, round(HALF_LIFE * arms.last_step))


def _add_token_axis(axes: Axes, arms: Arms) -> None:
    """Add the same axis in tokens, on top."""
    if (ratio := arms.tokens_per_step) is None:
        return
    scale = (partial(np.multiply, ratio), partial(np.multiply, 1 / ratio))
    top = axes.secondary_xaxis("top", functions=scale)
    tick_counts(top.xaxis)
    top.set_xlabel("tokens", color="#555555", fontsize=STYLE["xtick.labelsize"])


def _notes(arms: Arms, metric: str, has_warmup: bool) -> list[str]:
    """Return sentences about the lines, bands, dashes and crosses of a panel."""
    notes = seeds_sentence(arms)
    if np.unique(arms.data.metrics.rows(metric)["step"]).size >= DENSE:
        half_life = counted(_half_life(arms), "step")
        notes.append(
            f"Smoothed by a two-sided exponential moving average, half-life {half_life}; pale: before smoothing."
        )
    if has_warmup:
        notes.append("Vertical dashes: warm-up ends.")
    if any(arm.incomplete for arm in arms.arms):
        diverged = any(arm.diverged for arm in arms.arms)
        notes.append("Dashed: single runs that are not finished" + (", × where one diverged." if diverged else "."))
    return notes
