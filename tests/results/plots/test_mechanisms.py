"""Profiles are read at the end of training; the best learning rate of each arm is ringed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.results.exports import Exported, load_exported
from lmablate.results.frames import select_rows
from lmablate.results.plots import budget_figure, learning_rate_figure, profile_figure
from tests.results.plots.helpers import line
from tests.results.plots.scenes import SCENES, a_run, exported, falling


def ringed_rates(figure: Figure) -> list[float]:
    rings = [drawn for drawn in figure.axes[0].get_lines() if drawn.get_markerfacecolor() == "none"]
    return [np.asarray(ring.get_xdata()).item() for ring in rings]


def test_profiles_are_read_at_the_end(data: Exported) -> None:
    figure = profile_figure(data, "residual/branch_ratio_mlp/layer_{i}")
    rows = data.table[(data.table["step"] == 200) & (data.table["model/pos"] == "rope")]
    expected = [rows.loc[rows["metric"] == f"residual/branch_ratio_mlp/layer_{i}", "value"].mean() for i in range(4)]
    np.testing.assert_allclose(line(figure, "RoPE")[1], expected)


def test_the_best_learning_rate_of_each_arm_is_ringed(exports: Path) -> None:
    figure = learning_rate_figure(load_exported(exports, "lr"))
    assert ringed_rates(figure) == [3e-3, 1e-3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pre-norm", "post-norm"]


def test_a_grid_of_learning_rates_alone_is_one_line(exports: Path) -> None:
    whole = load_exported(exports, "lr")
    pre = select_rows(whole.runs, whole.runs["model/norm"] == "pre")
    data = replace(whole, runs=pre.drop(columns="model/norm"))
    assert data.factors == ["optim.lr"]
    figure = learning_rate_figure(data)
    assert len(figure.axes) == 1
    assert ringed_rates(figure) == [3e-3]
    assert line(figure, "lr")[0].tolist() == [3e-4, 1e-3, 3e-3]


def test_one_learning_rate_is_refused(data: Exported) -> None:
    with pytest.raises(UserError, match="one learning rate only"):
        learning_rate_figure(data)


def test_final_losses_lie_over_the_flops_of_their_runs(tmp_path: Path) -> None:
    data = exported(SCENES["budgets"], tmp_path)
    figure = budget_figure(data)
    places, losses = line(figure, "RoPE")
    assert places.tolist() == [1e8, 2e8, 4e8]
    assert losses.tolist() == [falling(3)] * 3
    assert figure.axes[0].get_xlabel() == "training FLOPs"
    assert not ringed_rates(figure)


def test_one_budget_is_refused_and_so_are_unknown_flops(data: Exported, tmp_path: Path) -> None:
    for one in (data, exported([a_run(f"r{n}", factors={"train.max_steps": n}) for n in (1, 2)], tmp_path)):
        with pytest.raises(UserError, match="one budget only"):
            budget_figure(one)
