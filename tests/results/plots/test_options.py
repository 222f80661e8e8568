"""What a user types about figures is obeyed, or refused in one sentence; the next input is one line of a table."""

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lmablate.config.key_value import parse
from lmablate.errors import UserError
from lmablate.figures import Arguments, figures
from lmablate.results.exports import Exported, load_exported
from lmablate.results.plots import MARK, Look, plan_gallery
from lmablate.results.plots.options import parse_formats, parse_limits
from lmablate.results.plots.style import WIDTHS

# What is typed -> what the sentence says.
REFUSED = {
    "metrics=val/lose": "metrics=val/lose is not measured in lr: did you mean val/loss?",
    "metrics=nothing at all": "metrics=nothing at all is not measured in lr: it has",
    "metrics=": "metrics= is not allowed: it has an empty part",
    "metrics=val/loss,": "metrics=val/loss, is not allowed: it has an empty part",
    "metrics=val/loss,,lr": "it has an empty part",
    "metrics=val/loss,val/loss": "val/loss is there twice",
    "metrics=residual/branch_ratio_mlp/layer_9": "is not measured in lr: did you mean residual/branch_ratio_mlp/layer_",
    "factors=model/act": "factors=model/act does not vary in lr: choose from model/norm, optim.lr",
    "factors=optim.lr,optim.lr": "optim.lr is there twice",
    "factors=,": "it has an empty part",
    "limits=val/loss": "write METRIC:LOW:HIGH",
    "limits=val/loss:4": "write METRIC:LOW:HIGH",
    "limits=val/loss::": "write METRIC:LOW:HIGH",
    "limits=:4:5": "write METRIC:LOW:HIGH",
    "limits=val/loss:low:high": "write METRIC:LOW:HIGH",
    "limits=val/loss:6:4": "6 must be below 4",
    "limits=val/loss:4:4": "4 must be below 4",
    "limits=val/loss:nan:4": "both ends must be finite",
    "limits=val/loss:4:inf": "both ends must be finite",
    "limits=val/loss:4:5,val/loss:5:6": "val/loss is there twice",
    "limits=loss:4:5": "limits=loss is not measured in lr",
    "limits=val/loss:900:": "limits=val/loss from 900 to",
    "limits=step:500:": "limits=step from 500 to",
    "format=jpg": "format=jpg is not allowed: choose from png, svg, pdf",
    "format=": "it has an empty part",
    "format=png,png": "png is there twice",
    "format=PNG": "format=PNG is not allowed",
    "width=5": "width=5 is not allowed: choose one of column, page",
    "width=": "width= is not allowed",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_is_not_allowed_is_refused_in_one_sentence(typed: str, exports: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(REFUSED[typed])) as error:
        figures(parse([f"exports={exports}", f"out={tmp_path}", "experiment=lr", typed], Arguments))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_each_format_is_written_and_known_as_ours(form: str, exports: Path, tmp_path: Path) -> None:
    typed = [f"exports={exports}", f"out={tmp_path}", "experiment=lr", "metrics=val/loss", f"format={form}"]
    for _ in range(2):  # our own figures are replaced
        figures(parse(typed, Arguments))
    written = [*(tmp_path / "lr").iterdir()]
    assert {path.suffix for path in written} == {f".{form}"}
    assert all(MARK.encode() in path.read_bytes() for path in written)


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        (["val/loss"], {"overview", "val_loss", "val_loss_after_warmup", "learning_rate"}),
        (["grad_norm"], {"overview", "grad_norm", "grad_norm_after_warmup"}),
        (["val/bpb"], {"val_bpb"}),
        (["residual/branch_ratio_mlp/layer_{i}"], {"residual_branch_ratio_mlp_layer"}),
        (["residual/branch_ratio_mlp/layer_0", "lr"], {"residual_branch_ratio_mlp_layer_0", "lr"}),
    ],
)
def test_only_the_chosen_metrics_are_drawn(metrics: list[str], names: set[str], exports: Path) -> None:
    assert {*plan_gallery(load_exported(exports, "lr"), metrics)} == names


def drawn(data: Exported, name: str, look: Look) -> Figure:
    return plan_gallery(data, look=look)[name]()


def test_the_first_factor_has_the_colours_and_the_others_the_panels(exports: Path) -> None:
    data = load_exported(exports, "lr")
    titles = [axes.get_title("left") for axes in drawn(data, "val_loss", Look(factors=["optim.lr"])).axes]
    assert titles == ["pre-norm", "post-norm"]
    titles = [axes.get_title("left") for axes in drawn(data, "val_loss", Look()).axes]
    assert titles == ["lr 0.0003", "lr 0.001", "lr 0.003"]


@pytest.mark.parametrize(
    ("typed", "low", "high"),
    [("val/loss:4:6", 4, 6), ("val/loss:-1:1e2", -1, 100), ("val/loss::6", None, 6), ("val/loss:4:", 4, None)],
)
def test_limits_are_those_that_are_typed(typed: str, low: float | None, high: float | None, data: Exported) -> None:
    limits = drawn(data, "val_loss", Look(limits=parse_limits(typed))).axes[0].get_ylim()
    for given, shown in zip((low, high), limits, strict=True):
        assert given in (None, shown)


def test_limits_of_steps_hold_for_every_figure_over_training(data: Exported) -> None:
    for name in ("overview", "val_loss", "grad_norm"):
        axes = drawn(data, name, Look(limits=parse_limits("step:10:150"))).axes[0]
        assert axes.get_xlim() == (10, 150)


def test_formats_come_in_one_order() -> None:
    assert parse_formats("pdf,png") == ["png", "pdf"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_figure_is_as_wide_as_asked(width: str, exports: Path) -> None:
    look = parse([f"width={width}"], Arguments).width
    for planned in plan_gallery(load_exported(exports, "lr"), look=Look(look)).values():
        assert planned().get_figwidth() == WIDTHS[look]
