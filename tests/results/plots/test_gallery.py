"""The gallery has every figure that the measurements allow."""

from pathlib import Path

from lmablate.results.exports import load_exported
from lmablate.results.plots import gallery


def test_the_gallery_has_every_metric_full_and_cut_and_the_mechanisms(exports: Path) -> None:
    curves = {f"{metric}{cut}" for metric in ("train_loss", "val_loss", "grad_norm") for cut in ("", "_after_warmup")}
    common = {"overview", "residual_branch_ratio_mlp_layer", *curves}
    assert {name for name, _ in gallery(load_exported(exports, "pos"))} == common
    assert {name for name, _ in gallery(load_exported(exports, "lr"))} == common | {"learning_rate"}
