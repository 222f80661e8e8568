"""Names beside the ends of lines, moved apart if they would overlap."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lmablate.results.plots.panels import POINTS_PER_INCH, longest_name

# Font size, distance of labels, and the longest label that has room beside the axes, in points.
SIZE, GAP, LONGEST = 7.5, 9.4, 110.0
# The parts of a figure's width and height that labels may take.
ACROSS, DOWN = 0.25, 0.5


def _labelled(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]


def labels_fit(axes: Axes) -> bool:
    """Return whether the names of the labelled lines have room beside the axes."""
    names = [str(line.get_label()) for line in _labelled(axes)]
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    across, down = figure.get_size_inches() * POINTS_PER_INCH * (ACROSS, DOWN)
    return len(names) * GAP <= down and longest_name(names, SIZE) <= min(LONGEST, across)


def label_lines(axes: Axes) -> None:
    """Write the name of each labelled line at its right end, in its colour."""
    lines, figure = _labelled(axes), axes.get_figure(root=True)
    assert figure
    if layout := figure.get_layout_engine():
        layout.execute(figure)  # only now the axes have their size
    gap = GAP * figure.dpi / POINTS_PER_INCH / axes.bbox.height
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [to_axes.transform((0.0, float(np.asarray(line.get_ydata())[-1])))[1] for line in lines]
    for line, y in zip(lines, spread_apart(np.clip(ends, 0, 1).tolist(), gap), strict=True):
        axes.annotate(
            str(line.get_label()), (1, y), (5, 0), "axes fraction", textcoords="offset points",
            color=line.get_color(), fontsize=SIZE, va="center", annotation_clip=False,
        )  # fmt: skip


def spread_apart(heights: list[float], gap: float) -> list[float]:
    """Return positions from 0 to 1 in the same order, at least `gap` apart, as near to `heights` as possible.

    Least squares under a minimal distance is isotonic regression after subtracting the distances: neighbours
    that collide form a block around their common mean (pool adjacent violators).
    """
    order = np.argsort(heights, kind="stable")
    blocks: list[list[float]] = []
    for rank, index in enumerate(order):
        blocks.append([heights[index] - rank * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    room = 1 - (len(heights) - 1) * gap  # the bounds only clip the solution without them
    flat = [float(np.clip(np.mean(block), 0, room)) for block in blocks for _ in block]
    placed = [0.0] * len(heights)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed
