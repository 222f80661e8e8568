"""Which part matters most, in one picture: a factorial design, or parts taken one at a time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.evidence.factorial import Effect, Factorial, Share, half_normal
from lmablate.evidence.one_at_a_time import OneAtATime
from lmablate.results.plots.panels import EDGE, MARGIN, POINTS_PER_INCH, add_note, name_panel, panel_figure
from lmablate.results.plots.style import PALETTE, STYLE, Look, factor_name, styled
from lmablate.results.plots.text import fitted

# Shares that are drawn: the largest; the others are in the table.
_MOST_BARS = 8
_MOST_LABELS = 5
# A point has a label if the next one is at least this far below, as a part of the largest effect.
_LABEL_ROOM = 0.07
# Of options taken one at a time: the height of a row in inches, and the part of the width that a name may take.
_ROW, _NAME_ROOM = 0.2, 0.35


def effects_figure(found: Factorial, metric: str, look: Look | None = None) -> Figure:
    """Draw the shares of variance with their intervals, and beside them a half-normal plot of all effects.

    In the half-normal plot (Daniel, Technometrics 1, 1959) effects of size 0 lie on a line through the origin. The line
    has the slope of Lenth's pseudo standard error (Technometrics 31, 1989), which few large effects do not disturb.

    Args:
        found: the analysis.
        metric: the reading's name.
        look: how it is drawn.
    """
    look = look or Look()
    with styled():
        figure, panels = panel_figure(look, [2] if look.width == "page" else [1, 1])
        _draw_shares(panels[0], found.shares)
        _draw_half_normal(panels[1], [*found.main, *found.interactions])
        name_panel(panels[0], "Which part matters most", "share of the variance among arms", "")
        name_panel(panels[1], "Effects against noise", "half-normal quantile", f"size of the effect on {metric}")
        saturated = ["Other interactions would look like these effects."] if found.is_saturated else []
        add_note(figure, [f"{found.arms} arms, {found.seeds} seeds each. Lines: 95 % intervals.", *saturated])
    return figure


def _draw_shares(axes: Axes, shares: list[Share]) -> None:
    shown = [share for share in shares if share.term != "rest"][:_MOST_BARS][::-1]
    values = np.array([share.share for share in shown])
    reach = np.abs(np.array([share.interval for share in shown]).T - values)
    axes.barh([share.term for share in shown], values, xerr=reach, color=PALETTE[0], error_kw={"elinewidth": 0.8})
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")


def _draw_half_normal(axes: Axes, effects: list[Effect]) -> None:
    ranked = sorted(effects, key=lambda effect: abs(effect.value))
    sizes = [abs(effect.value) for effect in ranked]
    quantiles, slope = half_normal(sizes)
    axes.plot([0, quantiles[-1]], [0, quantiles[-1] * slope], color="#999999", linewidth=0.8)
    for effect, x, y in zip(ranked, quantiles, sizes, strict=True):
        axes.plot(x, y, "o", markersize=3.5, color=_colour(effect))
    below = [float("-inf"), *sizes]
    for effect, x, y, next_below in [*zip(ranked, quantiles, sizes, below, strict=False)][-_MOST_LABELS:]:
        if effect.adjusted <= 0.05 and y - next_below > _LABEL_ROOM * sizes[-1]:
            place = {"xytext": (-4, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
            axes.annotate(effect.term, (x, y), size=7, **place)
    axes.set_xlim(0, quantiles[-1] * 1.08)
    axes.set_ylim(0, sizes[-1] * 1.12 or 1.0)


def _colour(effect: Effect) -> str:
    return PALETTE[0] if effect.adjusted <= 0.05 else "#BBBBBB"


def one_at_a_time_figure(found: OneAtATime, metric: str, look: Look | None = None) -> Figure:
    """Draw each effect with its 95 % interval, the largest on top; grey where it may be noise.

    Args:
        found: the analysis.
        metric: the reading's name.
        look: how it is drawn.
    """
    with styled():
        figure, (axes,) = panel_figure(look or Look(), [1])
        figure.set_figheight(max(figure.get_figheight(), EDGE + len(found.effects) * _ROW))
        axes.axvline(0, color="#999999", linewidth=0.8)
        for place, effect in enumerate(reversed(found.effects)):
            axes.plot(effect.interval, [place, place], color=_colour(effect))
            axes.plot(effect.value, place, "o", markersize=3.5, color=_colour(effect))
        whole = figure.get_figwidth() * POINTS_PER_INCH
        names = [effect.term.removeprefix(f"{found.base}_") for effect in reversed(found.effects)]
        shown = [fitted(name, _NAME_ROOM * whole, STYLE["ytick.labelsize"]) for name in names]
        axes.set_yticks(range(len(names)), shown)
        axes.grid(False, axis="y")
        name_panel(axes, "", f"difference of {metric}", "")
        title = f"{factor_name(found.factor)}: each option minus {found.base}"
        axes.set_title(fitted(title, whole - MARGIN, STYLE["axes.titlesize"], lines=2), loc="right")
        add_note(figure, [f"{found.seeds} seeds each. Lines: 95 % intervals. Grey: corrected p above 5 %."])
    return figure
