"""Grids of panels, and the legend above them."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lmablate.errors import UserError
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.style import STYLE, factor_name
from lmablate.results.plots.text import fitted, width

# Settings that fit on a page.
MAX_PANELS = 12
# Of notes and of lines that are not data.
GREY = "#777777"
POINTS_PER_INCH = 72
# In points: what a panel has beside its title, what a legend has beside a name, and the longest name.
MARGIN, ENTRY_MARKS, LONGEST_NAME = 40.0, 37.0, 190.0


def check_panels(experiment: str, count: int) -> None:
    """Refuse a figure of more panels than a page has room for.

    Raises:
        UserError: if there are more than MAX_PANELS.
    """
    if count > MAX_PANELS:
        raise UserError(f"{experiment} would need {count} panels, and at most {MAX_PANELS} fit: choose fewer runs.")


def panel_grid(figure: Figure, count: int, columns: int) -> list[Axes]:
    """Add `count` panels with common axes, row by row; the last row may be short."""
    grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.remove()
    return panels[:count]


def label_outer(panels: Sequence[Axes], columns: int) -> None:
    """Leave axis labels only at the lowest panel of each column and the first of each row."""
    for i, axes in enumerate(panels):
        if i % columns:
            axes.set_ylabel("")
        if i < len(panels) - columns:
            axes.set_xlabel("")
        else:
            axes.tick_params(axis="x", labelbottom=True)  # the common axis hides them on a panel above a gap


def name_panel(axes: Axes, title: str, ylabel: str) -> None:
    """Set the title of a panel and the name of its vertical axis, on at most two lines each."""
    figure, place = axes.get_figure(), axes.get_subplotspec()
    assert isinstance(figure, Figure)
    assert place
    figure_width, figure_height = figure.get_size_inches() * POINTS_PER_INCH
    rows, columns = place.get_gridspec().get_geometry()
    size = STYLE["axes.titlesize"]
    axes.set_title(fitted(title, figure_width / columns - MARGIN, size, lines=2))
    size = STYLE["axes.labelsize"]
    axes.set_ylabel(fitted(ylabel, figure_height / rows - MARGIN, size, lines=2))


def add_legend(figure: Figure, arms: Arms) -> None:
    """Add a legend of the factor's levels above all panels. The figure grows by the rows that it has beyond the first.

    Names and factor are shortened to fit, and stand in as many columns as the figure is wide.
    """
    size = STYLE["legend.fontsize"]
    colours = {arm.level: arm.colour for arm in arms.arms}
    names = {arm.level: fitted(arms.name(arm), LONGEST_NAME, size) for arm in arms.arms}
    handles = [Line2D([], [], color=colour, lw=2, label=names[level]) for level, colour in colours.items()]
    room = figure.get_figwidth() * POINTS_PER_INCH
    columns = _columns_that_fit([*names.values()], room, size)
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + (rows - 1) * 1.5 * size / POINTS_PER_INCH)
    title = fitted(factor_name(arms.factor), room - MARGIN, size) if arms.factor else None
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, title=title, alignment="left")


def _columns_that_fit(names: Sequence[str], room: float, size: float) -> int:
    """Return the most columns of a legend's entries that are no wider than `room`, in points."""
    for columns in range(len(names), 1, -1):
        parts = np.array_split(np.array(names, dtype=object), columns)
        if sum(longest_name(part, size) + ENTRY_MARKS for part in parts) <= room:
            return columns
    return 1


def longest_name(names: Iterable[str], size: float) -> float:
    """Return the width in points of the longest of some drawn names; 0 if there are none."""
    return max((width(name, size) for name in names), default=0.0)
