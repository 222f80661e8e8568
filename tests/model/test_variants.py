"""Every choice of every group in conf/model, in every combination, is a sound language model."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lmablate.config.build import build_model, model_shape
from lmablate.config.schema import CONF, MODEL_GROUPS
from lmablate.model import NoPE, Transformer, cross_entropy
from lmablate.testing import CONTEXT, VOCAB, check_model
from tests.model.helpers import random_tokens

FILES = {slot: sorted(Path(CONF, "model", slot).glob("*.yaml")) for slot in MODEL_GROUPS}
SIZES = ("d_model=16", "n_layers=2", "n_heads=2", "d_ff=24", "context_length=12")
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
    check_model(model)
    assert sum(p.numel() for p in model.parameters()) == model_shape(cfg).parameters()
    loss = cross_entropy(model(random_tokens(2, CONTEXT, vocab=VOCAB)), random_tokens(2, CONTEXT, vocab=VOCAB, seed=1))
    if tying.stem == "false" or init.stem not in FAR_FROM_UNIFORM_WHEN_TIED:
        assert abs(loss.mean().item() - math.log(VOCAB)) < 1


class Peek(nn.Module):
    """Adds to each token its successor."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.roll(-1, dims=1)


class Unused(nn.Module):
    """Has a parameter that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        return x


class Trained(NoPE):
    """A bias with a parameter, that claims to be constant: the fast attention gives it no gradient."""

    bias_is_constant = True

    def __init__(self) -> None:
        super().__init__(16, 2, CONTEXT)
        self.strength = nn.Parameter(torch.ones(1))

    def bias(self, scores: Tensor) -> Tensor:
        return scores * self.strength


def share_a_norm(model: Transformer) -> None:
    model.blocks[0].norm_1 = model.blocks[1].norm_1


def set_part(name: str, part: nn.Module) -> Callable[[Transformer], None]:
    def change(model: Transformer) -> None:
        *path, last = name.split(".")
        setattr(model.get_submodule(".".join(path)), last, part)

    return change


# What is wrong with a model, and what the check says.
FAULTS = [
    (set_part("blocks.0.mlp", Peek()), "depends on later tokens"),
    (share_a_norm, "two layers share a part"),
    (set_part("blocks.1.norm_2", Unused()), "no output depends on it"),
    (set_part("pos", Trained()), "strength has no gradient"),
    (set_part("norm", nn.Threshold(math.inf, math.nan)), "not finite"),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS)
def test_the_checks_catch_a_faulty_model(base, spoil: Callable[[Transformer], None], words: str) -> None:
    model = build_model(base)
    spoil(model)
    with pytest.raises(AssertionError, match=words):
        check_model(model)
