"""Figures of panels: their size, the grid, the legend above it and the note below."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from lmablate.errors import UserError
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.style import NOTE_SIZE, STYLE, WIDTHS, Look, Width, factor_name
from lmablate.results.plots.text import fitted, width

# Settings that fit on a page.
MAX_PANELS = 12
# Panels side by side at most.
MOST_COLUMNS: dict[Width, int] = {"column": 2, "page": 3}
# Of notes and of lines that are not data.
GREY = "#777777"
POINTS_PER_INCH = 72
# Height of a panel over its width, and the lowest and the highest panel, in inches.
RATIO, LOWEST, HIGHEST = 0.62, 1.4, 2.9
# In inches: what a figure has above and below its panels, without legend and note.
EDGE = 0.25
# In inches: room on the right for half the label of a last tick. The layout does not know it if it was made before the
# ticks of the drawing.
LAST_LABEL = 0.12
# In points: what a panel has beside its title, and above and below its vertical axis; what a legend has beside a name,
# and the longest name.
MARGIN, MARGIN_ABOVE, ENTRY_MARKS, LONGEST_NAME = 40.0, 34.0, 37.0, 190.0
# Height of a line of text over the font size, and the most lines of a note.
LINE_HEIGHT, NOTE_LINES = 1.5, 5
# The part of a figure's width that a note may take: on a coarse screen letters are a little wider.
NOTE_ROOM = 0.9


def check_panels(experiment: str, count: int) -> None:
    """Refuse a figure of more panels than a page has room for.

    Raises:
        UserError: if there are more than MAX_PANELS.
    """
    if count > MAX_PANELS:
        raise UserError(f"{experiment} would need {count} panels, and at most {MAX_PANELS} fit: choose fewer runs.")


def balanced_rows(count: int, columns: int) -> list[int]:
    """Return the number of panels in each row: as few rows as possible, as equal as possible, at most `columns`."""
    rows = math.ceil(count / columns)
    return [len(part) for part in np.array_split(np.arange(count), rows)]


def panel_figure(look: Look, rows: Sequence[int]) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels in each row, and the panels row by row. Each row fills the whole width."""
    figure_width = WIDTHS[look.width]
    height = min(max(RATIO * figure_width / max(rows), LOWEST), HIGHEST)
    room = (0, 0, 1 - LAST_LABEL / figure_width, 1)
    layout = ConstrainedLayoutEngine(rect=room)
    figure = Figure(figsize=(figure_width, EDGE + height * len(rows)), layout=layout)
    parts = math.lcm(*rows)
    grid = figure.add_gridspec(len(rows), parts)
    panels = []
    for row, count in enumerate(rows):
        step = parts // count
        panels += [figure.add_subplot(grid[row, i * step : (i + 1) * step]) for i in range(count)]
    return figure, panels


def label_outer(panels: Sequence[Axes]) -> None:
    """Leave the names of axes only at the first panel of each row, and at the panels of the last row."""
    for axes in panels:
        hide_inner_name(axes)
        place = axes.get_subplotspec()
        if place and place.colspan.start:
            axes.set_ylabel("")


def hide_inner_name(axes: Axes) -> None:
    """Leave the name of the horizontal axis only at the panels of the last row."""
    place = axes.get_subplotspec()
    if place and place.rowspan.stop < place.get_gridspec().nrows:
        axes.set_xlabel("")


def name_panel(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Set the title of a panel and the names of its axes, on at most two lines, and three at the vertical axis."""
    figure, place = axes.get_figure(), axes.get_subplotspec()
    assert isinstance(figure, Figure)
    assert place
    figure_width, figure_height = figure.get_size_inches() * POINTS_PER_INCH
    rows, columns = place.get_gridspec().get_geometry()
    room, size = figure_width * len(place.colspan) / columns - MARGIN, STYLE["axes.labelsize"]
    axes.set_title(fitted(title, room, STYLE["axes.titlesize"], lines=2))
    axes.set_xlabel(fitted(xlabel, room, size, lines=2))
    axes.set_ylabel(fitted(ylabel, figure_height / rows - MARGIN_ABOVE, size, lines=3))


def add_legend(figure: Figure, arms: Arms) -> None:
    """Add a legend of the factor's levels above all panels; the figure grows by its height.

    Names and factor are shortened to fit, and stand in as many columns as the figure is wide.
    """
    size = STYLE["legend.fontsize"]
    names = {level: fitted(name, LONGEST_NAME, size) for level, name in arms.names.items()}
    handles = [Line2D([], [], color=arms.colours[level], lw=2, label=name) for level, name in names.items()]
    room = figure.get_figwidth() * POINTS_PER_INCH
    columns = _columns_that_fit([*names.values()], room, size)
    title = fitted(factor_name(arms.factor), room - MARGIN, size) if arms.factor else None
    _grow(figure, math.ceil(len(handles) / columns) + (title is not None) + 0.5, size)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, title=title, alignment="left")


def add_note(figure: Figure, sentences: Sequence[str]) -> None:
    """Explain below the panels what a figure shows; the figure grows by the height of the text."""
    if not sentences:
        return
    room = NOTE_ROOM * figure.get_figwidth() * POINTS_PER_INCH
    text = fitted(" ".join(dict.fromkeys(sentences)), room, NOTE_SIZE, NOTE_LINES)
    _grow(figure, text.count("\n") + 1, NOTE_SIZE)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=NOTE_SIZE, color=GREY)


def seeds_sentence(arms: Arms) -> list[str]:
    """Return the sentence about lines and bands; none if no arm has more than one finished seed."""
    seeds = sorted({len(arm.complete) for arm in arms.arms if arm.complete}) or [0]
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return [f"Line: mean over {n} seeds; band: lowest to highest seed."] if seeds[-1] > 1 else []


def _grow(figure: Figure, lines: float, size: float) -> None:
    """Make a figure higher by so many lines of text."""
    figure.set_figheight(figure.get_figheight() + lines * LINE_HEIGHT * size / POINTS_PER_INCH)


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
