"""With muP a wider model starts, moves and learns like the base: sizes, rates, and the best learning rate."""

import math
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lmablate.config.schema import OptimConfig
from lmablate.diagnostics.coordinates import Coordinates
from lmablate.diagnostics.probe import ProbeContext
from lmablate.errors import UserError
from lmablate.model import (
    CS336,
    GPT2,
    Canon,
    CausalSelfAttention,
    Learned,
    MuP,
    ReLU,
    Scaled,
    Standard,
    Transformer,
    UntiedHead,
    ZeroBranches,
)
from lmablate.training.optim import SGD, SOAP, AdamW, Lion, Muon
from lmablate.training.recipe import Recipe
from lmablate.training.step import NextTokenLoss, train_step
from tests.model.helpers import normal, random_tokens, small_model

BASE, HEADS, VOCAB, TIME = 16, 4, 64, 24


def mup(base: int = BASE) -> Any:
    return partial(MuP, base_d_model=base, base_n_heads=HEADS)


def model_of(width: int, scaling: Any, **changes: Any) -> Transformer:
    sizes = dict(vocab_size=VOCAB, d_model=width, n_heads=HEADS, d_ff=4 * width, context_length=TIME)
    return small_model(**sizes, act=ReLU, scaling=scaling, **changes)


@pytest.mark.parametrize("init", [Scaled, GPT2, CS336, ZeroBranches])
def test_at_the_base_nothing_changes(init: Any) -> None:
    parts = dict(init=init(), tying=UntiedHead, pos=Learned)
    models = [model_of(BASE, scaling, **parts) for scaling in (Standard, mup())]
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
    tokens = random_tokens(2, 9, vocab=VOCAB)
    assert torch.equal(models[0](tokens), models[1](tokens))
    plain, scaled = (Recipe().make_optimizer(model, OptimConfig()) for model in models)
    assert all(group["lr_scale"] == 1 for group in scaled.param_groups)
    assert {group["weight_decay"] for group in scaled.param_groups} == {
        group["weight_decay"] for group in plain.param_groups
    }


@pytest.mark.parametrize("init", [Scaled, GPT2, CS336])
def test_first_values_shrink_in_the_blocks_and_stay_elsewhere(init: Any) -> None:
    parts = dict(init=init(), tying=UntiedHead, pos=Learned, attn=partial(CausalSelfAttention, mixer=Canon))
    base, wide = (dict(model_of(width, mup(64), **parts).named_parameters()) for width in (64, 256))
    for name, p in base.items():
        if p.dim() == 2:
            linear = name.startswith("blocks") and "mixer" not in name
            # Four standard errors of the two estimates.
            error = 4 * math.sqrt(0.5 / p.numel() + 0.5 / wide[name].numel())
            assert (wide[name].std() / p.std()).item() == pytest.approx(0.5 if linear else 1.0, rel=error), name


def test_scores_and_logits_shrink_with_the_width() -> None:
    wide, x = model_of(64, mup()), normal(2, TIME, 64)
    attn, plain = wide.blocks[0].attn, CausalSelfAttention(64, HEADS)
    plain.load_state_dict(attn.state_dict())
    with torch.no_grad():
        plain.q.weight.mul_(math.sqrt(4 / 16))  # heads of 4 at the base, of 16 here
    torch.testing.assert_close(attn(x), plain(x))
    tokens = random_tokens(2, 9, vocab=VOCAB)
    hidden = wide.hidden(tokens)
    wide.scaling = Standard(64, HEADS)
    torch.testing.assert_close(hidden, wide.hidden(tokens) / 4)
    assert MuP(64, 16, base_d_model=16, base_n_heads=4).of_queries == 1  # more heads of the same width


# The factor of the learning rate at four times the width: in linear layers of the blocks, and elsewhere.
RATES = {AdamW: (1 / 4, 1), Lion: (1 / 4, 1), SOAP: (1 / 4, 1), Muon: (1 / 2, 1), SGD: (1, 4)}


@pytest.mark.parametrize("algorithm", RATES)
def test_each_optimizer_has_its_rates(algorithm: Any) -> None:
    model = model_of(4 * BASE, mup(), tying=UntiedHead)
    optimizer = Recipe(algorithm=algorithm).make_optimizer(model, OptimConfig(weight_decay=0.1))
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert found.keys() == {id(p) for p in model.parameters()}
    for name, p in model.named_parameters():
        linear = name.startswith("blocks") and p.dim() == 2
        group = found[id(p)]
        assert group["lr_scale"] == RATES[algorithm][0 if linear else 1], name
        assert group["weight_decay"] * group["lr_scale"] == pytest.approx(0.1 if p.dim() == 2 else 0)


def test_a_step_uses_the_rate_of_each_group() -> None:
    """A first step of AdamW without decay moves each number by its rate, except those without a gradient."""
    model, tokens = model_of(4 * BASE, mup()), random_tokens(2, TIME + 1, vocab=VOCAB)
    optimizer = Recipe().make_optimizer(model, OptimConfig(weight_decay=0.0, eps=1e-30))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_step(NextTokenLoss(model), optimizer, (tokens[:, :-1], tokens[:, 1:]), lr=0.01, grad_clip=math.inf)
    for name, p in model.named_parameters():
        moved = (p - before[name]).abs().max().item()
        assert moved == pytest.approx(0.0025 if name.startswith("blocks") and p.dim() == 2 else 0.01, rel=1e-3), name


@pytest.mark.parametrize(("heads", "words"), [(5, "base_n_heads=5 is not"), (0, "base_n_heads=0"), ("a", "='a'")])
def test_a_base_without_whole_heads_is_refused(heads: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        MuP(64, 4, base_d_model=16, base_n_heads=heads)


# ---- A task on which training shows: each token depends on the two before it ----

TABLE = normal(VOCAB, VOCAB) * 2


@cache
def sequences(seed: int, rows: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(VOCAB, (rows, TIME + 1), generator=generator)
    for t in range(2, TIME + 1):
        logits = TABLE[x[:, t - 1]] + TABLE.roll(7, 0)[x[:, t - 2]]
        x[:, t] = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    return x[:, :-1].contiguous(), x[:, 1:].contiguous()


def train(model: Transformer, lr: float, steps: int, algorithm: Any = AdamW) -> list[float]:
    """Train with a constant rate after a short warm-up, and return the losses."""
    optimizer = Recipe(algorithm=algorithm).make_optimizer(model, OptimConfig(lr=lr, weight_decay=0.0))
    loss_of, losses = NextTokenLoss(model), []
    for step in range(steps):
        rate = lr * min(1, (step + 1) / 5)
        loss, _ = train_step(loss_of, optimizer, sequences(step), lr=rate, grad_clip=1.0)
        losses.append(loss.item())
    return losses


def growth(scaling: Any, steps: int) -> dict[str, float]:
    """How many times as large activations are at sixteen times the width, after some steps."""
    sizes = []
    for width in (BASE, 16 * BASE):
        model, (tokens, targets) = model_of(width, scaling), sequences(1000)
        train(model, 0.02, steps)
        with torch.no_grad():
            found = Coordinates().at_evaluation(ProbeContext(model, steps, steps, tokens, targets))
        sizes.append({name: float(size) for name, size in found.items()})
    return {name: sizes[1][name] / sizes[0][name] for name in sizes[0]}


def test_activations_keep_their_size_with_mup_and_do_not_without() -> None:
    """The coordinate check."""
    plain, scaled = growth(Standard, 5), growth(mup(), 5)
    assert all(0.4 < scaled[name] < 2.5 for name in scaled), scaled
    assert max(plain.values()) > 5, plain


def best_rate(width: int, scaling: Any, algorithm: Any, powers: range) -> int:
    losses = {k: sum(train(model_of(width, scaling), 2.0**k, 60, algorithm)[-10:]) for k in powers}
    return min(losses, key=lambda k: losses[k])


@pytest.mark.slow
def test_the_best_learning_rate_stays_with_mup_and_falls_to_a_quarter_without() -> None:
    powers = range(-8, -3)
    at_base = best_rate(BASE, Standard, AdamW, powers)
    assert best_rate(4 * BASE, Standard, AdamW, powers) == at_base - 2
    assert best_rate(4 * BASE, mup(), AdamW, powers) == at_base


# About the best rate of each optimizer at the base, as a power of two.
AT_BASE = {AdamW: -5, Lion: -7, Muon: -5}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", AT_BASE)
def test_a_wide_model_with_the_rate_of_the_base_learns_more_with_mup(algorithm: Any) -> None:
    plain, scaled = (
        sum(train(model_of(4 * BASE, scaling), 2.0 ** AT_BASE[algorithm], 60, algorithm)[-10:]) / 10
        for scaling in (Standard, mup())
    )
    assert scaled < plain - 0.05
