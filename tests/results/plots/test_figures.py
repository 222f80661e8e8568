"""Figures show the table's numbers, look the same each time, and say what they smooth."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.results.exports import Exported, Metrics, Thinning, load, read, write
from lmablate.results.plots import curve_figure, gallery, learning_rate_figure, profile_figure, save, summary
from lmablate.results.plots.style import BLUE, COLOURS, FACTOR_NAMES, LEVEL_NAMES, PALETTE, colours
from tests.results.exports.helpers import learning, make_config, make_run

ROOT = Path(__file__).resolve().parents[2]
DIVERGED = "Diverged: diverged at step 50"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Position encodings with a diverged run; norms over learning rates."""
    folder = tmp_path_factory.mktemp("exports")
    for seed in range(3):
        for pos, floor in (("rope", 4.5), ("nope", 5.0)):
            config = make_config(seed, pos=pos)
            bad = (pos, seed) == ("nope", 2)
            rows = [row for row in learning(seed, floor) if not bad or row["step"] < 50]
            status = {"state": "failed", "error": DIVERGED} if bad else {}
            make_run(folder / "runs", rows, {"pos": {"model/pos": pos}}, config, **status)
        for norm, best in (("pre", 3e-3), ("post", 1e-3)):
            for lr in (3e-4, 1e-3, 3e-3):
                rows = learning(seed, 5 + abs(np.log10(lr / best)))
                make_run(folder / "runs", rows, {"lr": {"model/norm": norm}}, make_config(seed, lr=lr, norm=norm))
    recorded = read("metrics", folder / "runs")
    for experiment in ("pos", "lr"):
        write(recorded, experiment, folder, Thinning())
    return folder


@pytest.fixture(scope="module")
def data(exports: Path) -> Exported:
    return load(exports, "pos")


def line(figure: Figure, label: str) -> tuple[np.ndarray, np.ndarray]:
    (found,) = (drawn for drawn in figure.axes[0].get_lines() if drawn.get_label() == label)
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def test_the_line_is_the_mean_over_finished_seeds(data: Exported) -> None:
    rows = data.table[(data.table["metric"] == "val/loss") & (data.table["model/pos"] == "rope")]
    expected = rows.groupby("step")["value"].mean()
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


def test_wide_ranges_are_logarithmic(data: Exported) -> None:
    assert curve_figure(data, "val/loss").axes[0].get_yscale() == "linear"
    wide = data.table.copy()
    first = (wide["metric"] == "val/loss") & (wide["step"] == 0)
    wide.loc[first, "value"] = 180.0
    assert curve_figure(Exported("pos", Metrics.of(wide), data.runs), "val/loss").axes[0].get_yscale() == "log"


def test_profiles_are_read_at_the_end(data: Exported) -> None:
    figure = profile_figure(data, "residual/branch_ratio_mlp/layer_{i}")
    rows = data.table[(data.table["step"] == 200) & (data.table["model/pos"] == "rope")]
    expected = [rows.loc[rows["metric"] == f"residual/branch_ratio_mlp/layer_{i}", "value"].mean() for i in range(4)]
    np.testing.assert_allclose(line(figure, "RoPE")[1], expected)


def test_the_best_learning_rate_is_marked(exports: Path) -> None:
    lines = learning_rate_figure(load(exports, "lr")).axes[0].get_lines()
    rings = [drawn for drawn in lines if drawn.get_markerfacecolor() == "none"]
    assert [np.asarray(ring.get_xdata()).item() for ring in rings] == [3e-3, 1e-3]


def test_a_figure_is_the_same_to_the_byte(data: Exported, tmp_path: Path) -> None:
    def drawn(stem: Path) -> list[bytes]:
        return [path.read_bytes() for path in save(curve_figure(data, "train/loss"), stem)]

    first, second = drawn(tmp_path / "a"), drawn(tmp_path / "b")
    assert first == second
    assert not any(b"Software" in content or b"<dc:date>" in content for content in first)


def test_the_gallery_has_every_metric_full_and_cut_and_the_mechanisms(exports: Path) -> None:
    curves = {f"{metric}{cut}" for metric in ("train_loss", "val_loss", "grad_norm") for cut in ("", "_after_warmup")}
    common = {"overview", "residual_branch_ratio_mlp_layer", *curves}
    assert {name for name, _ in gallery(load(exports, "pos"))} == common
    assert {name for name, _ in gallery(load(exports, "lr"))} == common | {"learning_rate"}


def test_levels_of_one_factor_have_colours_of_their_own() -> None:
    for factor, names in LEVEL_NAMES.items():
        assert factor in FACTOR_NAMES
        assert len({COLOURS[level] for level in names}) == len(names)
    many = [f"level {i}" for i in range(len(PALETTE))]
    assert len({*colours(many).values()}) == len(PALETTE)
    assert colours(["rope", "something new"])["rope"] == BLUE


def test_what_cannot_be_drawn_is_said(data: Exported) -> None:
    with pytest.raises(UserError, match="has no metric nothing"):
        curve_figure(data, "nothing")
    with pytest.raises(UserError, match="factor=model/act does not vary in pos: choose one of model/pos"):
        curve_figure(data, "val/loss", factor="model/act")
    with pytest.raises(UserError, match="one learning rate only"):
        learning_rate_figure(data)


def test_the_summary_is_mean_and_deviation_over_seeds(data: Exported) -> None:
    table = summary(data).set_index("variant")
    final = data.runs.loc[data.runs["model/pos"] == "rope", "val/loss"]
    assert table.loc["RoPE", "val loss"] == f"{final.mean():.4f} ± {final.std():.4f}"
    assert table["seeds"].to_dict() == {"RoPE": "3", "none (NoPE)": "2 of 3"}
    assert table["parameters"].tolist() == ["393,792"] * 2


@pytest.mark.slow
def test_the_entry_point_prints_table_and_main_figure(exports: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lmablate.figures",
        "experiment=pos",
        f"exports={exports}",
        f"out={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "pos" / "overview.png")
    assert "none (NoPE)" in done.stdout
    assert {path.suffix for path in (tmp_path / "pos").iterdir()} == {".png", ".svg"}
