"""Whatever an experiment holds, its figures are drawn without a warning, and can be read at both widths."""

import re
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.axes._base import _AxesBase
from matplotlib.figure import Figure

from lmablate.results.plots import Look, plan_gallery, summary
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.style import NOTE_SIZE, STYLE, WIDTHS, Width
from tests.results.plots.scenes import SCENES, drawn_texts, exported, overlaps

NUMBER = re.compile(r"−?\d+(\.\d+)?([kMGT]|·10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)?")
SIZES = {NOTE_SIZE, *(size for key, size in STYLE.items() if key.endswith("size") and isinstance(size, int | float))}


# Every fourth scene in a column is slow, the others are of the long tests.
IN_COLUMN = [
    pytest.param(scene, "column", marks=[pytest.mark.slow, *([pytest.mark.faults] if number % 4 else [])])
    for number, scene in enumerate(SCENES)
]


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "width"), [*((scene, "page") for scene in SCENES), *IN_COLUMN])
def test_every_figure_can_be_drawn_and_read(tmp_path: Path, scene: str, width: Width) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = exported(SCENES[scene], tmp_path)
        assert len(summary(data)) == len(Arms(data).arms)
        for name, draw in plan_gallery(data, look=Look(width)).items():
            figure = draw()
            check_figure(figure, name, width)


def check_figure(figure: Figure, name: str, width: Width) -> None:
    texts = drawn_texts(figure)
    assert figure.get_figwidth() == WIDTHS[width]
    assert [*overlaps(figure, texts)] == [], name
    assert {text.get_fontsize() for text in texts} <= SIZES, "text has the same size in all figures"
    for axes in figure.axes:
        check_ticks(axes, name)
        check_nothing_is_cut(axes, name)
        for second in axes.child_axes:
            check_ticks(second, name)


def tick_labels(axis: Any) -> list[str]:
    labels = [tick.label1.get_text() for tick in axis._update_ticks() if tick.label1.get_visible()]
    return [label for label in labels if label]


def check_ticks(axes: _AxesBase, name: str) -> None:
    """Every tick that is shown has a plain number, and one of its own; a logarithmic axis has at least three."""
    for axis in (axes.xaxis, axes.yaxis):
        labels = tick_labels(axis)
        assert all(NUMBER.fullmatch(label) for label in labels), (name, labels)
        assert len({*labels}) == len(labels), (name, labels)
    if axes.get_yscale() == "log" and axes.yaxis.get_tick_params()["labelleft"]:
        assert len(tick_labels(axes.yaxis)) >= 3, name


def check_nothing_is_cut(axes: Axes, name: str) -> None:
    """Curves and bands lie within the vertical limits. Lines that are pale or no values may leave them."""
    low, high = axes.get_ylim()
    slack = 1e-9 * max(abs(low), abs(high))
    for values in chain(curves(axes), bands(axes)):
        values = values[np.isfinite(values)]
        assert np.all((values >= low - slack) & (values <= high + slack)), name


def curves(axes: Axes) -> Iterator[np.ndarray]:
    for line in axes.get_lines():
        if line.get_label() not in ("_raw", "_note"):
            yield np.asarray(line.get_ydata(), dtype=float)


def bands(axes: Axes) -> Iterator[np.ndarray]:
    for band in axes.collections:
        yield from (np.asarray(path.vertices)[:, 1] for path in band.get_paths())
