"""Grids of panels, and the legend above them."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lmablate.results.plots.arms import Arms
from lmablate.results.plots.style import factor_name

# Settings that fit on a page.
MAX_PANELS = 12
# Of notes and of lines that are not data.
GREY = "#777777"


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


def add_legend(figure: Figure, arms: Arms) -> None:
    """Add a legend of the factor's levels above all panels."""
    colours = {arms.name(arm): arm.colour for arm in arms.arms}
    handles = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in colours.items()]
    title = factor_name(arms.factor) if arms.factor else None
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), title=title, alignment="left")
