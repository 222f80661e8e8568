"""Every choice of every group in conf/model, in every combination, is a sound language model."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lmablate.config.build import build_model, model_shape
from lmablate.config.schema import CONF
from lmablate.model import NoPE, Transformer, cross_entropy
from lmablate.model.norm import NORMS
from lmablate.testing import CONTEXT, VOCAB, check_model
from tests.covering import COMBINATIONS, OPTIONS, with_choices
from tests.model.helpers import random_tokens

SIZES = ("d_model=16", "n_layers=2", "n_heads=4", "d_ff=24", "context_length=12")
# With tied embeddings, these schemes give a first loss far above ln(VOCAB): their embeddings make logits too large.
FAR_FROM_UNIFORM_WHEN_TIED = {"cs336"}


@pytest.fixture(scope="module")
def base(compose_config) -> DictConfig:
    return compose_config(*(f"model.{size}" for size in SIZES), f"tokenizer.vocab_size={VOCAB}")


def test_the_config_groups_hold_every_variant_of_the_report():
    found = {slot: {*options} for slot, options in OPTIONS.items()}
    assert found["norm"] >= {"pre", "post"}
    assert found["pos"] >= {"rope", "sin", "learned", "nope", "alibi"}
    assert found["act"] >= {"swiglu", "relu", "gelu", "silu", "relu2", "geglu"}
    assert found["tying"] == {"true", "false"}
    assert found["init"] >= {"cs336", "gpt2", "scaled"}


def test_every_pair_of_choices_is_in_a_combination():
    pairs = {pair for row in COMBINATIONS for pair in itertools.combinations(row.items(), 2)}
    for one, other in itertools.combinations(OPTIONS, 2):
        for pair in itertools.product([(one, x) for x in OPTIONS[one]], [(other, x) for x in OPTIONS[other]]):
            assert pair in pairs


@pytest.mark.parametrize("choice", [(slot, option) for slot in OPTIONS for option in OPTIONS[slot]], ids="=".join)
def test_a_choice_on_the_command_line_puts_its_yaml_into_the_config(choice, compose_config):
    slot, option = choice
    cfg = compose_config(f"model/{slot}={option}")
    assert cfg.model[slot] == OmegaConf.load(Path(CONF, "model", slot, f"{option}.yaml"))


@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda row: "-".join(row.values()))
def test_a_combination_is_finite_causal_shares_no_layer_and_has_the_declared_size(choices, base):
    cfg = with_choices(base, choices)
    model = build_model(cfg)
    loss = cross_entropy(model(random_tokens(2, CONTEXT, vocab=VOCAB)), random_tokens(2, CONTEXT, vocab=VOCAB, seed=1))
    if choices["tying"] == "false" or choices["init"] not in FAR_FROM_UNIFORM_WHEN_TIED:
        assert abs(loss.mean().item() - math.log(VOCAB)) < 1
    check_model(model)
    shape = model_shape(cfg)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters()
    cfg.model.d_ff = 40
    other = replace(shape, d_ff=40)  # as `match` computes it
    assert (other.parameters(), other.flops_per_token()) == (
        model_shape(cfg).parameters(),
        model_shape(cfg).flops_per_token(),
    )


@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda row: "-".join(row.values()))
def test_a_combination_with_a_cache_computes_what_it_computes_anew(choices, base):
    model = build_model(with_choices(base, choices)).double()
    tokens = random_tokens(2, CONTEXT, vocab=VOCAB)
    cache = model.new_cache()
    steps = [model(part, cache) for part in tokens.split([5, 1, 1, CONTEXT - 7], dim=1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(tokens), rtol=1e-9, atol=1e-9)


ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (CONF.parent / "docs" / "factors.md").read_text().splitlines()
    if line.startswith("| `model")
]


def test_the_page_of_factors_has_every_choice():
    named = {row[0].strip("`") for row in ROWS}
    kinds = {f"model.norm.kind={kind}" for kind in NORMS}
    assert named == {f"model/{slot}={option}" for slot in OPTIONS for option in OPTIONS[slot]} | kinds


@pytest.fixture(scope="module")
def base_shape(compose_config):
    return model_shape(compose_config("scale=cpu"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_page_of_factors_says_what_a_choice_costs(row, compose_config, base_shape):
    choice, *_, parameters, flops, _ = row
    base, shape = base_shape, model_shape(compose_config("scale=cpu", choice.strip("`")))
    assert int(parameters) == shape.parameters() - base.parameters()
    assert int(flops) == shape.flops_per_token() - base.flops_per_token()


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
