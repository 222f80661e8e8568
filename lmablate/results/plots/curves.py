"""Metrics over training: the smoothed mean over seeds, its band, and the raw values pale underneath."""

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.errors import UserError, counted
from lmablate.results.exports import Exported
from lmablate.results.plots.arms import LARGEST, Arm, Arms
from lmablate.results.plots.labels import label_lines, labels_fit
from lmablate.results.plots.panels import (
    GREY,
    MAX_PANELS,
    add_legend,
    check_panels,
    label_outer,
    name_panel,
    panel_grid,
)
from lmablate.results.plots.smooth import envelope, two_sided_ema
from lmablate.results.plots.style import metric_name, styled
from lmablate.results.plots.text import drawn
from lmablate.results.plots.ticks import tick_counts, tick_values

METRICS = ("train/loss", "val/loss", "grad_norm")
# Half-life of the smoothing, as a fraction of the run.
HALF_LIFE = 0.01
# A metric with fewer points per run than this, such as an evaluation, is not smoothed.
DENSE = 50
# How a line of one point is drawn: on the edge of the axes it is not cut.
SINGLE_POINT: dict[str, Any] = {"marker": "o", "ms": 5, "clip_on": False}
# A vertical axis that spans more than this number of powers of ten is logarithmic.
LOG_DECADES = 1.0
# Marks of lines in a panel that are not smoothed curves. Labels that begin with "_" are in no legend and no SVG file.
RAW = "raw"
WARMUP_LABEL = "_warm-up"


def curve_figure(data: Exported, metric: str, factor: str | None = None, cut: bool = False) -> Figure:
    """Draw one metric over the optimizer's steps.

    Args:
        data: the experiment.
        metric: the name of the metric.
        factor: the factor that colours stand for, by default the first. Each setting of the other factors has a panel.
        cut: leave out the steps before the end of warm-up.

    Raises:
        UserError: if there is nothing to draw, or if the figure would need more than MAX_PANELS panels.
    """
    arms = Arms(data, factor)
    if metric not in arms.metrics:
        raise UserError(f"{data.experiment} has no metric {metric}: it has {', '.join(arms.metrics)}.")
    if cut and not has_steps_after_warmup(arms):
        raise UserError(f"{data.experiment} has no steps after warm-up to cut to.")
    panels = arms.panels()
    check_panels(data.experiment, len(panels))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (5.0, 3.3) if len(panels) == 1 else (3.0 * columns + 0.6, 2.3 * rows + 0.9)
    with styled():
        figure = Figure(figsize=size, layout="constrained")
        grid = panel_grid(figure, len(panels), columns)
        for axes, (title, members) in zip(grid, panels.items(), strict=True):
            _draw(axes, arms, members, metric, cut)
            name_panel(axes, title, metric_name(metric))
        _set_scale(grid)
        label_outer(grid, columns)
        if len(panels) == 1:
            _add_token_axis(grid[0], arms)
            _note_warmup(grid[0], arms, cut)
        if len(panels) == 1 and labels_fit(grid[0]):
            label_lines(grid[0])
        else:
            add_legend(figure, arms)
        _add_footnote(figure, arms, [metric])
    return figure


def overview_figure(data: Exported, factor: str | None = None) -> Figure:
    """Draw training loss, validation loss and gradient norm side by side.

    With one factor, the rows are the full run and the steps after warm-up. With several, there is one row for each
    setting of the other factors, at most MAX_PANELS.

    Args:
        data: the experiment.
        factor: the factor that colours stand for; by default the first one.

    Raises:
        UserError: if the experiment has none of the metrics.
    """
    arms = Arms(data, factor)
    metrics = [metric for metric in METRICS if metric in arms.metrics]
    if not metrics:
        raise UserError(f"{data.experiment} has none of the metrics {', '.join(METRICS)}.")
    settings = list(arms.panels().items())
    panels = settings[:MAX_PANELS]
    rows = [(title, members, False) for title, members in panels]
    if len(panels) == 1 and has_steps_after_warmup(arms):
        title, members = panels[0]
        rows.append((title, members, True))
    with styled():
        figure = Figure(figsize=(3.1 * len(metrics) + 0.3, 2.15 * len(rows) + 0.9), layout="constrained")
        grid = figure.subplots(len(rows), len(metrics), squeeze=False)
        for line, (title, members, cut) in zip(grid, rows, strict=True):
            for axes, metric in zip(line, metrics, strict=True):
                _draw(axes, arms, members, metric, cut)
                name_panel(axes, "", metric_name(metric))
                _set_scale([axes])
            name_panel(line[0], title or ("after warm-up" if cut else "full run"), metric_name(metrics[0]))
            if not cut:
                _note_warmup(line[0], arms, cut)
        for axes in grid[:-1].flat:
            axes.set_xlabel("")
        add_legend(figure, arms)
        left_out = f"{len(panels)} of {len(settings)} settings are shown." if len(panels) < len(settings) else ""
        _add_footnote(figure, arms, metrics, left_out)
    return figure


def has_steps_after_warmup(arms: Arms) -> bool:
    """Return whether more than a tenth of the run comes after the longest warm-up."""
    ends = arms.warmup_ends.values()
    return bool(ends) and max(ends) < 0.9 * arms.last_step


def _draw(axes: Axes, arms: Arms, members: Sequence[Arm], metric: str, cut: bool) -> None:
    """Draw the curves of some arms, and lines at the ends of their warm-ups."""
    start = max(arms.warmup_ends.values()) if cut else 0
    for arm in members:
        _draw_complete(axes, arms, arm, metric, start)
        _draw_incomplete(axes, arms, arm, metric, start)
    if not axes.get_lines():
        axes.text(0.5, 0.5, "no values", color=GREY, ha="center", va="center", transform=axes.transAxes)
    axes.set_xlabel("optimizer steps")
    axes.set_xlim(start, max(arms.last_step, start + 1))
    tick_counts(axes.xaxis)
    if not cut:
        ends = arms.warmup_ends
        common = len({*ends.values()}) == 1
        for level, step in [*ends.items()][:1] if common else ends.items():
            colour = GREY if common else arms.colours[level]
            axes.axvline(step, color=colour, lw=0.7, ls=(0, (4, 3)), zorder=0.5, label=WARMUP_LABEL)


def _draw_complete(axes: Axes, arms: Arms, arm: Arm, metric: str, start: int) -> None:
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
        x, y = envelope(raw.index.to_numpy(), raw.mean(axis=1).to_numpy())
        axes.plot(x, y, color=arm.colour, alpha=0.22, lw=0.6, zorder=1, gid=RAW)
    if smooth.shape[1] > 1:
        low, high = smooth.min(axis=1).to_numpy(), smooth.max(axis=1).to_numpy()
        axes.fill_between(steps, low, high, color=arm.colour, alpha=0.18, lw=0, zorder=1.5)
    marks = SINGLE_POINT if len(steps) == 1 else {"marker": "" if dense else "o", "ms": 2.6}
    axes.plot(*_thin(steps, mean), **marks, color=arm.colour, mew=0, zorder=2, label=drawn(arms.name(arm)))


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most a thousand points, the last among them: a smooth curve needs no more."""
    stride = -(-len(steps) // 1000)
    chosen = np.arange(len(steps) - 1, -1, -stride)[::-1]
    return steps[chosen], values[chosen]


def _draw_incomplete(axes: Axes, arms: Arms, arm: Arm, metric: str, start: int) -> None:
    """Draw each run that failed or is still running; a cross where a diverged one was last finite."""
    wide = arms.drawable(metric, arm.incomplete)
    for run in wide.columns:
        series = wide.loc[np.isfinite(wide[run]), [run]]
        curve = _smoothed(series, arms) if len(series) >= DENSE else series
        curve = curve.loc[curve.index >= start, run]
        if curve.empty:
            continue
        label = "_" if arm.complete or run != wide.columns[0] else drawn(arms.name(arm))
        x, y = _thin(curve.index.to_numpy(), curve.to_numpy())
        marks = SINGLE_POINT if len(x) == 1 else {}
        axes.plot(x, y, **marks, color=arm.colour, lw=0.9, ls=(0, (3, 1.5)), zorder=1.8, label=label)
        if run in arm.diverged:
            end = curve.index[-1:]
            axes.plot(end, curve.iloc[-1:], "x", color=arm.colour, ms=7, mew=1.8, zorder=3, clip_on=False)


def _smoothed(wide: pd.DataFrame, arms: Arms) -> pd.DataFrame:
    smooth = two_sided_ema(wide.index.to_numpy(), wide.to_numpy(), _half_life(arms))
    return pd.DataFrame(smooth, index=wide.index, columns=wide.columns)


def _half_life(arms: Arms) -> int:
    return max(1, round(HALF_LIFE * arms.last_step))


def _set_scale(panels: Sequence[Axes]) -> None:
    """Set limits that hold every smoothed curve, and all but the most extreme raw values; logarithmic if wide."""
    lines = [line for axes in panels for line in axes.get_lines() if line.get_label() != WARMUP_LABEL]
    curves = [np.asarray(line.get_ydata(), dtype=float) for line in lines if line.get_gid() != RAW]
    raw = [np.asarray(line.get_ydata(), dtype=float) for line in lines if line.get_gid() == RAW]
    if curves:
        values = np.concatenate(curves)
        raw_values = np.concatenate(raw) if raw else values
        low = min(values.min(), np.percentile(raw_values, 0.5))
        high = max(values.max(), np.percentile(raw_values, 99.5))
        if low > 0 and np.log10(high) - np.log10(low) > LOG_DECADES:
            margin = 10 ** (0.05 * (np.log10(high) - np.log10(low)))
            limits = (max(low / margin, 1 / LARGEST**2), high * margin)
            for axes in panels:
                axes.set_yscale("log")
        else:
            margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
            limits = (low - margin, high + margin)
        for axes in panels:
            axes.set_ylim(*limits)
    for axes in panels:
        tick_values(axes, axes.yaxis)


def _note_warmup(axes: Axes, arms: Arms, cut: bool) -> None:
    """Name the line at the last end of warm-up, on the side of it that has room; the line may be outside."""
    if cut or not (ends := arms.warmup_ends):
        return
    end, (_, last) = max(ends.values()), axes.get_xlim()
    if end <= last:
        offset, side = ((3, 0), "left") if end < 0.6 * last else ((-3, 0), "right")
        axes.annotate(
            "warm-up ends", (end, 0.98), offset, ("data", "axes fraction"),
            textcoords="offset points", color=GREY, fontsize=6.5, va="top", ha=side,
        )  # fmt: skip


def _add_token_axis(axes: Axes, arms: Arms) -> None:
    """Add the same axis in tokens, on top."""
    if (ratio := arms.tokens_per_step) is None:
        return
    scale = (partial(np.multiply, ratio), partial(np.multiply, 1 / ratio))
    top = axes.secondary_xaxis("top", functions=scale)
    tick_counts(top.xaxis)
    top.set_xlabel("tokens", color="#555555", fontsize=7)
    top.tick_params(labelsize=6.5)


def _add_footnote(figure: Figure, arms: Arms, metrics: Sequence[str], left_out: str = "") -> None:
    """Explain the lines, bands, dashes and crosses that the figure has, and say what it leaves out."""
    seeds = sorted({len(arm.complete) for arm in arms.arms if arm.complete}) or [0]
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    parts = [left_out] if left_out else []
    if seeds[-1] > 1:
        parts.append(f"Line: mean over {n} seeds; band: lowest to highest seed.")
    if any(arms.data.metrics.rows(metric)["step"].nunique() >= DENSE for metric in metrics):
        parts.append(
            f"Smoothed by a two-sided exponential moving average, half-life {counted(_half_life(arms), 'step')};"
        )
        parts.append("pale: before smoothing.")
    incomplete = any(arm.incomplete for arm in arms.arms)
    diverged = any(arm.diverged for arm in arms.arms)
    if incomplete:
        parts.append("Dashed: single runs that are not finished" + (", × where one diverged." if diverged else "."))
    if parts:
        width = int(figure.get_figwidth() * 20)
        text = textwrap.fill(" ".join(parts), width)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=6, color=GREY)
