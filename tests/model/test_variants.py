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


def combinations() -> list:
    """Every choice of norm placement, position, activation, tying and init, with both kinds of norm."""
    cases = itertools.product(*FILES.values(), ("rmsnorm", "layernorm"))
    return [pytest.param(*case, id="-".join([p.stem for p in case[:5]] + [case[5]])) for case in cases]


@pytest.fixture(scope="module")
def base(compose_config) -> DictConfig:
    return compose_config(*(f"model.{size}" for size in SIZES), f"tokenizer.vocab_size={VOCAB}")


def test_the_groups_hold_what_the_report_compares():
    found = {slot: {path.stem for path in files} for slot, files in FILES.items()}
    assert found["norm"] == {"pre", "post"}
    assert found["pos"] >= {"rope", "sin", "learned", "nope", "alibi"}
    assert found["act"] >= {"swiglu", "relu", "gelu", "silu", "relu2", "geglu"}
    assert found["tying"] == {"true", "false"}
    assert found["init"] >= {"cs336", "gpt2", "scaled"}


@pytest.mark.parametrize(
    "path", [*itertools.chain(*FILES.values())], ids=lambda path: f"{path.parent.name}={path.stem}"
)
def test_a_choice_composes_on_the_command_line(path, compose_config):
    """The yaml that `combinations` reads directly is what Hydra puts in the slot."""
    cfg = compose_config(f"model/{path.parent.name}={path.stem}")
    assert cfg.model[path.parent.name] == OmegaConf.load(path)


@pytest.mark.parametrize(("norm", "pos", "act", "tying", "init", "kind"), combinations())
def test_a_combination_is_sound(norm, pos, act, tying, init, kind, base):
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
    if tying.stem == "false" or init_promises_uniform(cfg):
        assert abs(loss.item() - math.log(VOCAB)) < 1


def run(model: Transformer, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean loss on random targets after a backward pass, the logits, and the embeddings that they came from."""
    seen: list[Tensor] = []
    handle = model.embed.register_forward_hook(lambda module, args, out: seen.append(out))
    logits = model(tokens)
    handle.remove()
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


def init_promises_uniform(cfg: DictConfig) -> bool:
    from lmablate.config.build import build

    return build(cfg.model.init).promises_uniform_when_tied


def test_the_checks_find_what_they_are_for(base):
    """A model that looks ahead, and one whose layers share a norm, fail."""
    model = build_model(base)
    model.blocks[0].norm_1 = model.blocks[1].norm_1
    with pytest.raises(AssertionError):
        assert_nothing_shared_between_layers(model)

    class Peek(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.roll(-1, dims=1)

    model = build_model(base)
    model.blocks[0].mlp = Peek()  # pyright: ignore[reportAttributeAccessIssue]
    _, logits, stream = run(model, random_tokens(2, CONTEXT, vocab=VOCAB))
    with pytest.raises(AssertionError):
        assert_blind_to_the_future(logits, stream)
