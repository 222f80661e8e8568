"""The schemes' standard deviations, and that arms of an ablation start from the same numbers."""

import hashlib
import math

import pytest
import torch
from torch import nn

from lmablate.model import (
    CS336,
    GELU,
    GPT2,
    Learned,
    NoPE,
    PostNorm,
    PreNorm,
    RoPE,
    Scaled,
    TiedHead,
    UntiedHead,
    cross_entropy,
)
from tests.model.helpers import random_tokens, small_model

WIDE = dict(vocab_size=500, d_model=64, n_heads=4, d_ff=256, n_layers=3, context_length=64)
SPREADS = {
    CS336: {
        "embed": 1.0,
        "pos": 1.0,
        "head": math.sqrt(2 / 564),
        "q": math.sqrt(2 / 128),
        "down": math.sqrt(2 / 320),
    },
    GPT2: {"embed": 0.02, "pos": 0.02, "head": 0.02, "q": 0.02, "down": 0.02 / math.sqrt(6)},
    Scaled: {"embed": 1 / 8, "pos": 1 / 8, "head": 1 / 8, "q": 1 / 8, "down": 1 / 16},
}


def digests(model: nn.Module) -> dict[str, str]:
    return {name: hashlib.sha256(p.detach().numpy().tobytes()).hexdigest() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("scheme", "spreads"), SPREADS.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_each_matrix_has_the_mean_and_standard_deviation_of_its_scheme(scheme, spreads):
    model = small_model(**WIDE, pos=Learned, tying=UntiedHead, init=scheme())
    for name, parameter in model.named_parameters():
        part = name.split(".")[-2]
        if part in spreads:
            cut = 0.986578 if scheme is CS336 else 1  # the standard deviation of a unit normal cut at three sigma
            assert parameter.std().item() == pytest.approx(spreads[part] * cut, rel=0.03), name
            assert abs(parameter.mean().item()) < 4 * spreads[part] / math.sqrt(parameter.numel()), name


def test_cs336_draws_nothing_beyond_three_sigma():
    model = small_model(**WIDE, init=CS336())
    assert 2.9 < model.embed.weight.abs().max().item() <= 3


def test_norm_weights_stay_ones_and_biases_zeros():
    for name, parameter in small_model(norm=lambda *a: PreNorm(*a, kind="layernorm")).named_parameters():
        if parameter.dim() < 2:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))


ARMS = {
    "base": {},
    "post-norm": dict(norm=lambda *a: PostNorm(*a, kind="layernorm")),
    "no positions": dict(pos=NoPE),
    "learned positions": dict(pos=Learned),
    "two matrices": dict(act=GELU),
    "untied": dict(tying=UntiedHead),
    "deeper": dict(n_layers=3, init=CS336()),
}


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
def test_arms_share_every_parameter_that_both_have(arm):
    init = arm.get("init", Scaled())
    base, other = digests(small_model(init=init)), digests(small_model(**arm))
    shared = {name for name in base.keys() & other.keys() if has_one_meaning(name)}
    assert len(shared) >= 12
    assert all(base[name] == other[name] for name in shared)


def has_one_meaning(name: str) -> bool:
    """Return whether `name` is the same parameter in both arms; the final norm is not, it stands in some arms only."""
    return not name.startswith("norm.")


def test_another_seed_or_salt_draws_other_numbers():
    first = digests(small_model())
    for other in (small_model(seed=1), small_model(init=Scaled(salt="b"))):
        changed = {name for name, digest in digests(other).items() if digest != first[name]}
        assert changed == {name for name, p in other.named_parameters() if p.dim() >= 2}


def test_no_two_parameters_draw_the_same_numbers():
    matrices = [p for p in small_model(tying=UntiedHead).parameters() if p.dim() >= 2]
    assert len({p.flatten()[:5].detach().numpy().tobytes() for p in matrices}) == len(matrices)


def loss_at_init(**changes) -> float:
    model = small_model(**dict(vocab_size=2000, d_model=256, n_layers=4, n_heads=4, d_ff=1024) | changes)
    tokens, targets = random_tokens(8, 12, vocab=2000), random_tokens(8, 12, vocab=2000, seed=1)
    with torch.no_grad():
        return cross_entropy(model(tokens), targets).mean().item()


@pytest.mark.parametrize(("norm", "pos"), [(PreNorm, RoPE), (PostNorm, NoPE)])
def test_only_tied_embeddings_of_unit_variance_start_far_above_ln_v(norm, pos):
    """Tying and initialisation are confounded, shown at the report's width: same architecture, same tokens."""
    uniform = math.log(2000)
    start = {
        (tying, init): loss_at_init(norm=norm, pos=pos, tying=tying, init=init())
        for tying in (TiedHead, UntiedHead)
        for init in (CS336, GPT2, Scaled)
    }
    assert start[TiedHead, CS336] > uniform + 30
    assert abs(start[UntiedHead, CS336] - uniform) < 1
    assert abs(start[TiedHead, Scaled] - uniform) < 1
    assert abs(start[UntiedHead, Scaled] - uniform) < 1
    assert abs(start[TiedHead, GPT2] - uniform) < 0.5
    assert start[TiedHead, CS336] == pytest.approx(uniform + 256 / 2, rel=0.5)  # logits of variance d: ln V + d/2
