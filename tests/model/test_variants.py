"""Every choice of every group in conf/model, in every combination, is a sound language model."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lmablate.config.build import build_model, model_shape
from lmablate.config.schema import CONF, MODEL_GROUPS
from lmablate.model import Transformer, cross_entropy
from tests.model.helpers import random_tokens

FILES = {slot: sorted(Path(CONF, "model", slot).glob("*.yaml")) for slot in MODEL_GROUPS}
SIZES = ("d_model=16", "n_layers=2", "n_heads=2", "d_ff=24", "context_length=12")
VOCAB, CONTEXT = 257, 12
# With tied embeddings, these schemes give a first loss far above ln(VOCAB): their embeddings make logits too large.
FAR_FROM_UNIFORM_WHEN_TIED = {"cs336"}


def combinations() -> list:
    """Every choice of norm placement, position, activation, tying and init, with both kinds of norm."""
    return [
        pytest.param(*paths, kind, id="-".join([*(path.stem for path in paths), kind]))
        for paths in itertools.product(*FILES.values())
        for kind in ("rmsnorm", "layernorm")
    ]


@pytest.fixture(scope="module")
def base(compose_config) -> DictConfig:
    return compose_config(*(f"model.{size}" for size in SIZES), f"tokenizer.vocab_size={VOCAB}")


def test_the_config_groups_hold_every_variant_of_the_report():
    found = {slot: {path.stem for path in files} for slot, files in FILES.items()}
    assert found["norm"] == {"pre", "post"}
    assert found["pos"] >= {"rope", "sin", "learned", "nope", "alibi"}
    assert found["act"] >= {"swiglu", "relu", "gelu", "silu", "relu2", "geglu"}
    assert found["tying"] == {"true", "false"}
    assert found["init"] >= {"cs336", "gpt2", "scaled"}


@pytest.mark.parametrize(
    "path", [*itertools.chain(*FILES.values())], ids=lambda path: f"{path.parent.name}={path.stem}"
)
def test_a_choice_on_the_command_line_puts_its_yaml_into_the_config(path, compose_config):
    """The yaml that `combinations` reads directly is what Hydra puts in the slot."""
    cfg = compose_config(f"model/{path.parent.name}={path.stem}")
    assert cfg.model[path.parent.name] == OmegaConf.load(path)


@pytest.mark.parametrize(("norm", "pos", "act", "tying", "init", "kind"), combinations())
def test_every_combination_is_finite_causal_shares_no_layer_and_has_the_declared_size(
    norm, pos, act, tying, init, kind, base
):
    cfg = base.copy()
    for path in (norm, pos, act, tying, init):
        cfg.model[path.parent.name] = OmegaConf.load(path)
    cfg.model.norm.kind = kind
    model = build_model(cfg)
    tokens = random_tokens(2, CONTEXT, vocab=VOCAB)
    loss, logits, stream = run(model, tokens)

    assert_finite_and_complete(model, loss)
    assert_blind_to_the_future(logits, stream)
    assert_nothing_shared_between_layers(model)
    assert sum(p.numel() for p in model.parameters()) == model_shape(cfg).parameters()
    if tying.stem == "false" or init.stem not in FAR_FROM_UNIFORM_WHEN_TIED:
        assert abs(loss.item() - math.log(VOCAB)) < 1


def run(model: Transformer, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run a forward and a backward pass. Return the mean loss on random targets, the logits, and the embeddings."""
    seen: list[Tensor] = []

    def note_output(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append(output)

    with model.embed.register_forward_hook(note_output):
        logits = model(tokens)
    loss = cross_entropy(logits, random_tokens(*tokens.shape, vocab=VOCAB, seed=1)).mean()
    loss.backward(retain_graph=True)
    return loss, logits, seen[0]


def assert_finite_and_complete(model: Transformer, loss: Tensor) -> None:
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), f"the gradient of {name} is zero"


def assert_blind_to_the_future(logits: Tensor, stream: Tensor) -> None:
    for t in (0, CONTEXT // 2, CONTEXT - 2):
        (grad,) = torch.autograd.grad(logits[:, t].sum(), stream, retain_graph=True)
        assert (grad[:, t + 1 :] == 0).all()
        assert (grad[:, : t + 1] != 0).any(-1).all(), "a past position has no influence"


def assert_nothing_shared_between_layers(model: Transformer) -> None:
    modules = [module for block in model.blocks for module in block.modules()]
    assert len({id(module) for module in modules}) == len(modules)
    parameters = [p for module in modules for p in module.parameters(recurse=False)]
    assert len({p.data_ptr() for p in parameters}) == len(parameters)


def test_the_checks_catch_a_model_that_looks_ahead_and_one_whose_layers_share_a_norm(base):
    model = build_model(base)
    model.blocks[0].norm_1 = model.blocks[1].norm_1
    with pytest.raises(AssertionError):
        assert_nothing_shared_between_layers(model)

    class Peek(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.roll(-1, dims=1)

    model = build_model(base)
    model.blocks[0].mlp = Peek()  # pyright: ignore[reportAttributeAccessIssue]  (not an MLP, on purpose)
    _, logits, stream = run(model, random_tokens(2, CONTEXT, vocab=VOCAB))
    with pytest.raises(AssertionError):
        assert_blind_to_the_future(logits, stream)
