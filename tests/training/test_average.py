"""A run is judged by the average of its weights, which training does not see."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lmablate.errors import UserError
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import Run
from lmablate.training.checkpoint import checkpoints, load_checkpoint
from lmablate.training.optim import EMA, SGD
from lmablate.training.recipe import build_recipe
from lmablate.training.trainer import Trainer
from tests.inference.helpers import ARMS, train_arms
from tests.model.helpers import normal, small_model
from tests.tiny import configured
from tests.training.test_trainer import DATA

STEPS = ["train.max_steps=6", "train.eval_every=2", "train.checkpoint_every=6", "optim.lr=0.02"]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_the_average_is_the_weighted_mean_of_all_weights(decay: float, dtype: torch.dtype) -> None:
    p = torch.nn.Parameter(torch.zeros(3, 2, dtype=dtype))
    optimizer = SGD([p], lr=0.1)
    optimizer.average = EMA(decay)
    weights = []
    for t in range(100):
        p.grad = normal(3, 2, seed=t, dtype=torch.float64).to(dtype)
        optimizer.step()
        weights.append(p.detach().clone())
    shares = torch.tensor([decay ** (99 - i) for i in range(100)], dtype=torch.float64)
    expected = sum(share * w for share, w in zip(shares / shares.sum(), weights, strict=True))
    torch.testing.assert_close(optimizer.state[p]["average"], expected)
    with optimizer.averaged() as averages:
        assert averages
        torch.testing.assert_close(p.detach(), expected)
    assert torch.equal(p, weights[-1])


@pytest.mark.parametrize("decay", [-0.1, 1, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=f"optim.average.decay={decay} is not allowed: it must be a number from 0 to"):
        EMA(decay)


def trained(folder: Path, *more: str) -> tuple[Run, Trainer]:
    cfg = configured(*STEPS, *more)
    settings: Any = OmegaConf.to_object(cfg)
    run = Run.create(folder, {"config": list(more)}, "tiny-s0", "")
    trainer = Trainer(
        small_model(), DATA, run, seed=0, train=settings.train, optim=settings.optim, recipe=build_recipe(cfg)
    )
    trainer.fit()
    return run, trainer


def test_training_does_not_see_the_average_and_both_losses_are_kept(tmp_path: Path) -> None:
    (plain, _), (averaged, trainer) = (
        trained(tmp_path),
        trained(tmp_path, "optim/average=ema", "optim.average.decay=0.7"),
    )
    ended = [checkpoints(run.checkpoints)[-1] / "model.safetensors" for run in (plain, averaged)]
    assert ended[0].read_bytes() == ended[1].read_bytes()
    for one, other in zip(read_metrics(plain.metrics_path), read_metrics(averaged.metrics_path), strict=True):
        assert one.get("train/loss") == other.get("train/loss")
        assert one.get("val/loss") == other.get("val/raw_loss")
        if other["step"] > 2:
            assert one.get("val/loss") is None or one["val/loss"] != other["val/loss"]
    assert averaged.status()["val/loss"] == read_metrics(averaged.metrics_path)[-1]["val/loss"]
    # What a loader gets has the loss that the run is judged by.
    state = load_checkpoint(averaged.checkpoints, trainer.model, averaged=True)
    assert state is not None
    assert trainer.validation_scores()["val/loss"] == averaged.status()["val/loss"] == state["val/loss"]
    load_checkpoint(plain.checkpoints, trainer.model, averaged=True)
    assert trainer.validation_scores()["val/loss"] == plain.status()["val/loss"]


def test_a_loaded_run_has_the_averaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "ema", ["optim/average=ema"])
    loaded = train_arms(tmp_path, "ema")["ema"]
    raw = {name: p.clone() for name, p in loaded.model.named_parameters()}
    load_checkpoint(loaded.run.checkpoints, loaded.model)
    assert not any(torch.equal(p, raw[name]) for name, p in loaded.model.named_parameters())
