"""Whatever an experiment holds, its figures are drawn without a warning, and no text overlaps another or is cut off."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes._base import _AxesBase

from lmablate.results.plots import OVER_TRAINING, plan_gallery, summary
from lmablate.results.plots.arms import Arms
from tests.results.plots.scenes import SCENES, exported, overlaps

NUMBER = re.compile(r"−?\d+(\.\d+)?([kMGT]|·10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)?")


@pytest.mark.parametrize("scene", SCENES)
def test_every_figure_can_be_drawn_and_read(tmp_path: Path, scene: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = exported(SCENES[scene], tmp_path)
        assert len(summary(data)) == len(Arms(data).arms)
        for name, draw in plan_gallery(data, OVER_TRAINING).items():
            figure = draw()
            assert [*overlaps(figure)] == [], name
            for axes in figure.axes:
                check_ticks(axes, name)
                for second in axes.child_axes:
                    check_ticks(second, name)


def check_ticks(axes: _AxesBase, name: str) -> None:
    """Every tick that is shown has a plain number, and one of its own."""
    axis: Any
    for axis in (axes.xaxis, axes.yaxis):
        labels = [tick.label1.get_text() for tick in axis._update_ticks() if tick.label1.get_visible()]
        labels = [label for label in labels if label]
        assert all(NUMBER.fullmatch(label) for label in labels), (name, labels)
        assert len({*labels}) == len(labels), (name, labels)
