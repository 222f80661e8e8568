"""Curves show the table's numbers, mark where warm-up and runs end, and say what they smooth."""

import numpy as np
import pytest

from lmablate.errors import UserError
from lmablate.results.exports import Exported, Metrics
from lmablate.results.plots import Look, curve_figure
from tests.results.plots.helpers import line


def test_the_line_is_the_mean_over_finished_seeds(data: Exported) -> None:
    rows = data.table[(data.table["metric"] == "val/loss") & (data.table["model/pos"] == "rope")]
    expected = rows.pivot(index="step", columns="run", values="value").mean(axis=1)
    steps, values = line(curve_figure(data, "val/loss"), "RoPE")
    np.testing.assert_array_equal(steps, expected.index)
    np.testing.assert_allclose(values, expected)


def test_cut_begins_where_warm_up_ends(data: Exported) -> None:
    figure = curve_figure(data, "train/loss", cut=True)
    assert figure.axes[0].get_xlim()[0] == 20
    assert line(figure, "RoPE")[0].min() == 20


def test_a_diverged_run_ends_in_a_cross(data: Exported) -> None:
    crosses = [drawn for drawn in curve_figure(data, "train/loss").axes[0].get_lines() if drawn.get_marker() == "x"]
    assert [np.asarray(cross.get_xdata()).tolist() for cross in crosses] == [[49]]


def test_the_note_names_band_and_smoothing(data: Exported) -> None:
    note = " ".join(curve_figure(data, "train/loss").get_supxlabel().split())
    for words in (
        "mean over 2 to 3 seeds",
        "lowest to highest seed",
        "half-life 2 steps",
        "× where one diverged",
    ):
        assert words in note


def test_the_line_at_the_end_of_warm_up_does_not_stretch_the_axis(data: Exported) -> None:
    axes = curve_figure(data, "val/loss").axes[0]
    (mark,) = (drawn for drawn in axes.get_lines() if np.asarray(drawn.get_xdata()).tolist() == [20, 20])
    assert np.asarray(mark.get_ydata()).tolist() == [0, 1]
    assert axes.get_ylim()[0] > 3


def test_wide_ranges_are_logarithmic(data: Exported) -> None:
    assert curve_figure(data, "val/loss").axes[0].get_yscale() == "linear"
    wide = data.table.copy()
    first = (wide["metric"] == "val/loss") & (wide["step"] == 0)
    wide.loc[first, "value"] = 180.0
    assert curve_figure(Exported("pos", Metrics.from_frame(wide), data.runs), "val/loss").axes[0].get_yscale() == "log"


def test_a_metric_or_factor_that_cannot_be_drawn_is_named(data: Exported) -> None:
    with pytest.raises(UserError, match="has no metric nothing"):
        curve_figure(data, "nothing")
    with pytest.raises(UserError, match="factors=model/act does not vary in pos: choose from model/pos"):
        curve_figure(data, "val/loss", Look(factors=["model/act"]))
