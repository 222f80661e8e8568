"""Promises of the levels none, light and full as a whole, and of all probes together."""

import json

import pytest
import torch

from lmablate.config.schema import OptimConfig, TrainConfig
from lmablate.diagnostics.coordinates import Coordinates
from lmablate.diagnostics.probe import probe_evaluation
from lmablate.model import GELU, Learned, PostNorm, PreNorm, RoPE, TiedHead, UntiedHead
from lmablate.runs.run import Run
from lmablate.training.trainer import Trainer, TrainingData
from tests.diagnostics.helpers import CONF, VOCAB, level, make_context, make_model, mean_loss, tokens

ARMS = {
    "llama": {"norm": PreNorm, "pos": RoPE, "tying": UntiedHead, "act": GELU},
    "vanilla": {"norm": PostNorm, "pos": Learned, "tying": TiedHead},
}


def snapshot(model) -> dict[str, torch.Tensor]:
    grads = {f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None}
    state = {**model.state_dict(), **grads, "random state": torch.get_rng_state()}
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("step", [0, 5, 10])
def test_probes_at_an_evaluation_change_neither_model_nor_gradients_nor_random_state(arm, step):
    model = make_model(**ARMS[arm])
    context = make_context(model, step)
    mean_loss(model, context).backward()
    before = snapshot(model)
    with torch.no_grad():
        metrics = probe_evaluation(level("full"), context)
    after = snapshot(model)
    assert metrics
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def train(folder, arm: str, diagnostics: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train a short run. Return its final weights and its rows of metrics."""
    run, model = Run.create(folder, {"level": diagnostics}, arm, ""), make_model(**ARMS[arm])
    data = TrainingData(tokens(4000), tokens(2000, seed=1), token_bytes=torch.ones(VOCAB).numpy())
    settings = TrainConfig(max_steps=6, batch_size=4, eval_every=2, eval_batches=2, device="cpu")
    Trainer(
        model,
        data,
        run,
        seed=0,
        train=settings,
        optim=OptimConfig(warmup_steps=2),
        probes=level(diagnostics),
    ).fit()
    return model.state_dict(), [json.loads(line) for line in run.metrics_path.read_text().splitlines()]


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_ends_in_the_same_bits_with_and_without_probes(tmp_path, arm):
    (plain, _), (watched, _) = train(tmp_path, arm, "none"), train(tmp_path, arm, "full")
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def names(row: dict[str, float]) -> set[str]:
    return {name.split("/layer_")[0].split("/bin_")[0] for name in row}


def test_each_metric_is_in_the_rows_of_its_steps_and_in_no_other(tmp_path):
    _, rows = train(tmp_path, "llama", "full")
    steps = [row["step"] for row in rows]
    assert steps == list(range(7))
    panel = {
        "residual/branch_ratio_attn",
        "residual/branch_ratio_mlp",
        "residual/stream_cosine",
        "dead_units",
    }
    for row in rows:
        step = row["step"]
        assert ("grad_norm_clipped" in row) == ("grad_norm/layer_2" in row) == ("clipped" in row) == (step < 6)
        assert ("init/loss" in row) == (step == 0)
        assert panel <= names(row) if step % 2 == 0 else not panel & names(row)
        assert ("untied_grad/cosine" in row) == (step % 2 == 0)
        assert ("residual/drop_loss" in names(row)) == (step in (0, 6))
        assert ("position_loss" in names(row)) == ("position_loss/4x" in row) == (step == 6)


def test_full_has_every_probe_of_light_and_none_has_no_probe():
    assert {type(probe) for probe in level("light")} < {type(probe) for probe in level("full")}
    assert not level("none")
    assert {type(probe) for probe in level("coordinates")} - {type(probe) for probe in level("full")} == {Coordinates}
    assert {path.stem for path in CONF.glob("*.yaml")} == {"none", "light", "full", "coordinates"}
