"""The choices inside an attention layer and around a branch, against formulas written anew from the papers."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lmablate.errors import UserError
from lmablate.model import (
    ALiBi,
    AllBiases,
    Canon,
    CappedLogits,
    CappedScores,
    CausalSelfAttention,
    Dropout,
    DyT,
    ElementGate,
    EmbeddingSkip,
    GroupedQueryAttention,
    HeadGate,
    HybridNorm,
    LayerScale,
    Linear,
    MultiQueryAttention,
    NoBias,
    NoPE,
    NoPEEvery,
    ParallelNorm,
    PartialRoPE,
    PeriNorm,
    QKNorm,
    QKVBias,
    ReZero,
    RoPE,
    SandwichNorm,
    SiLU,
    ValueResidual,
    WindowAttention,
    YaRN,
    ZeroBranches,
)
from lmablate.model.residual import Early
from tests.model.helpers import VOCAB, normal, random_tokens, small_model

D, HEADS, TIME = 16, 4, 9


def heads_of(x: Tensor, weight: Tensor, count: int) -> Tensor:
    """The product split into heads, [batch, count, time, d]."""
    return F.linear(x, weight).unflatten(-1, (count, -1)).movedim(-2, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, cap: float = math.inf) -> Tensor:
    """Attention of the last positions, head by head and token by token: nothing but sums."""
    out = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    for t in range(q.shape[-2]):
        scores = (k[..., : t + 1, :] @ q[..., t, :, None]).squeeze(-1) / math.sqrt(q.shape[-1])
        scores = scores if math.isinf(cap) else cap * (scores / cap).tanh()
        if mask is not None:
            scores = scores.masked_fill(~mask[t, : t + 1], -math.inf)
        out[..., t, :] = (scores.softmax(-1)[..., None] * v[..., : t + 1, :]).sum(-2)
    return out


def check(layer: CausalSelfAttention, out: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(out, F.linear(expected.movedim(1, -2).flatten(-2), layer.o.weight))


def parts(layer: CausalSelfAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, those of a group repeated."""
    q = heads_of(x, layer.q.weight, HEADS)
    k, v = (heads_of(x, matrix.weight, layer.n_kv_heads) for matrix in (layer.k, layer.v))
    group = HEADS // layer.n_kv_heads
    of_head = [head // group for head in range(HEADS)]
    return q, k[:, of_head], v[:, of_head]


@pytest.fixture
def x() -> Tensor:
    return normal(2, TIME, D, dtype=torch.float64)


LAYERS = {
    "two groups": lambda: GroupedQueryAttention(D, HEADS, n_kv_heads=2),
    "one group": lambda: MultiQueryAttention(D, HEADS),
    "a group per head": lambda: GroupedQueryAttention(D, HEADS, n_kv_heads=HEADS),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_heads_of_a_group_read_the_same_keys_and_values(layer: str, x: Tensor) -> None:
    attn = LAYERS[layer]().double()
    check(attn, attn(x), attend(*parts(attn, x)))


@pytest.mark.parametrize("window", [1, 2, 5, TIME, 100])
@pytest.mark.parametrize("pos", [NoPE, ALiBi])
def test_a_window_hides_what_is_further_back(window: int, pos: Any, x: Tensor) -> None:
    attn = WindowAttention(D, HEADS, window=window).double()
    distance = torch.arange(TIME)[:, None] - torch.arange(TIME)
    scheme = pos(D, HEADS, TIME)
    q, k, v = parts(attn, x)
    if pos is NoPE:
        check(attn, attn(x, scheme), attend(q, k, v, distance < window))
    for t in range(TIME):  # a change outside the window changes nothing
        changed = x.clone()
        changed[:, : max(0, t - window + 1)] += 1
        torch.testing.assert_close(attn(changed, scheme)[:, t], attn(x, scheme)[:, t])


def test_a_window_works_on_long_texts_as_on_short_ones() -> None:
    """150 tokens are several blocks of the fast attention."""
    attn = WindowAttention(D, HEADS, window=7).double()
    x = normal(1, 150, D, dtype=torch.float64)
    distance = torch.arange(150)[:, None] - torch.arange(150)
    check(attn, attn(x), attend(*parts(attn, x), distance < 7))


@pytest.mark.parametrize("cap", [0.1, 1.0, 50.0])
def test_a_cap_squashes_the_scores_before_the_softmax(cap: float, x: Tensor) -> None:
    attn = CausalSelfAttention(D, HEADS, scores=lambda: CappedScores(cap=cap)).double()
    check(attn, attn(x), attend(*parts(attn, x), cap=cap))


def test_norms_make_queries_and_keys_of_one_length(x: Tensor) -> None:
    attn: Any = CausalSelfAttention(D, HEADS, qk_norm=QKNorm).double()
    torch.nn.init.normal_(attn.qk_norm.q.weight)
    q, k, v = parts(attn, 1000 * x)
    q, k = (y / y.square().mean(-1, keepdim=True).sqrt() for y in (q, k))
    check(attn, attn(1000 * x), attend(q * attn.qk_norm.q.weight, k, v))


def test_a_gate_scales_each_head_of_each_token(x: Tensor) -> None:
    attn: Any = CausalSelfAttention(D, HEADS, gate=HeadGate).double()
    gate = torch.sigmoid(torch.einsum("btd,hd->bht", x, attn.gate.gate.weight))
    check(attn, attn(x), attend(*parts(attn, x)) * gate[..., None])


def test_a_gate_scales_each_number_of_each_head(x: Tensor) -> None:
    attn: Any = CausalSelfAttention(D, HEADS, gate=ElementGate).double()
    check(attn, attn(x), attend(*parts(attn, x)) * torch.sigmoid(heads_of(x, attn.gate.gate.weight, HEADS)))


def test_later_layers_mix_in_the_values_of_the_first(x: Tensor) -> None:
    layers: list[Any] = [CausalSelfAttention(D, HEADS, values=ValueResidual).double() for _ in range(2)]
    torch.nn.init.normal_(layers[1].values.shares)
    early = Early(x)
    _, out = (layer(x, NoPE(D, HEADS, TIME), None, early) for layer in layers)
    (_, _, first), (q, k, own) = parts(layers[0], x), parts(layers[1], x)
    a, b = layers[1].values.shares
    check(layers[1], out, attend(q, k, a * own + b * first))


@pytest.mark.parametrize(("fraction", "turned"), [(0.25, 2), (0.5, 4), (0.01, 2), (1, 8)])
def test_partial_rope_turns_the_first_dimensions_and_leaves_the_others(fraction: float, turned: int) -> None:
    q, k = normal(1, 2, TIME, 8), normal(1, 2, TIME, 8, seed=1)
    whole, part = RoPE(2 * turned, 2, TIME), PartialRoPE(16, 2, TIME, fraction=fraction)
    for plain, got in zip((q, k), part.rotate(q, k), strict=True):
        torch.testing.assert_close(got[..., turned:], plain[..., turned:])
        torch.testing.assert_close(got[..., :turned], whole.rotate(plain[..., :turned], plain[..., :turned])[0])


def test_every_fourth_layer_has_no_positions() -> None:
    pos = NoPEEvery(D, HEADS, TIME, every=4)
    assert [type(pos.of_layer(layer)) for layer in range(8)] == [NoPEEvery] * 3 + [NoPE] + [NoPEEvery] * 3 + [NoPE]
    ordered = [small_model(n_layers=n, pos=lambda *a: NoPEEvery(*a, every=1)) for n in (1, 2)]
    tokens, swapped = torch.tensor([[3, 4, 5]]), torch.tensor([[4, 3, 5]])
    torch.testing.assert_close(ordered[0](tokens)[:, -1], ordered[0](swapped)[:, -1])


def test_yarn_stretches_slow_turns_and_leaves_fast_ones() -> None:
    d_head, context, factor = 64, 4096, 4.0
    yarn = YaRN(d_head, 1, context, factor=factor, original=context / factor)
    plain = 10_000.0 ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
    turns = context / factor * plain / (2 * math.pi)
    stretched, kept = turns < 1, turns > 32
    assert 0 < stretched.sum() < len(turns) - kept.sum() < len(turns)
    torch.testing.assert_close(yarn.frequencies()[stretched], plain[stretched] / factor)
    torch.testing.assert_close(yarn.frequencies()[kept], plain[kept])
    middle = ~stretched & ~kept
    assert (yarn.frequencies()[middle] < plain[middle]).all()
    assert (yarn.frequencies()[middle] > plain[middle] / factor).all()
    q, k = yarn.rotate(normal(1, 1, 5, d_head), normal(1, 1, 5, d_head, seed=1))
    q_plain, k_plain = RoPE(d_head, 1, context).rotate(normal(1, 1, 5, d_head), normal(1, 1, 5, d_head, seed=1))
    growth = (0.1 * math.log(factor) + 1) ** 2
    torch.testing.assert_close((q[..., 0, :] * k[..., 0, :]).sum(), growth * (q_plain * k_plain)[..., 0, :].sum())


def test_yarn_of_factor_one_is_rope() -> None:
    q, k = normal(2, 2, TIME, 8), normal(2, 2, TIME, 8, seed=1)
    for got, expected in zip(YaRN(16, 2, TIME, factor=1).rotate(q, k), RoPE(16, 2, TIME).rotate(q, k), strict=True):
        torch.testing.assert_close(got, expected)


def test_dyt_is_a_scaled_tanh() -> None:
    x, dyt = normal(3, D), DyT(D)
    for p, seed in ((dyt.alpha, 1), (dyt.weight, 2), (dyt.bias, 3)):
        p.data = normal(*p.shape, seed=seed)
    torch.testing.assert_close(dyt(x), dyt.weight * torch.tanh(dyt.alpha * x) + dyt.bias)


@pytest.mark.parametrize("width", [1, 2, 4, 20])
def test_canon_adds_a_causal_convolution(width: int) -> None:
    x, canon = normal(2, TIME, D), Canon(D, width=width)
    padded = F.pad(x.mT, (width - 1, 0))
    convolved = F.conv1d(padded, canon.weight.flip(1)[:, None], groups=D).mT
    torch.testing.assert_close(canon(x)[0], x + convolved)


def test_branches_that_start_at_zero_leave_the_embedding(x: Tensor) -> None:
    model, tokens = small_model(init=ZeroBranches()), random_tokens(2, 5)
    torch.testing.assert_close(model.hidden(tokens), model.norm(model.embed(tokens)))


BIASED = {
    NoBias: set(),
    QKVBias: {"attn.q", "attn.k", "attn.v"},
    AllBiases: {"attn.q", "attn.k", "attn.v", "attn.o", "attn.gate.gate", "mlp.gate", "mlp.up", "mlp.down"},
}


@pytest.mark.parametrize("bias", BIASED)
def test_a_choice_of_biases_gives_them_to_its_layers(bias: Any) -> None:
    plain, biased, tokens = small_model(gate=HeadGate), small_model(gate=HeadGate, bias=bias), random_tokens(2, 5)
    layers = {name: part for name, part in biased.blocks[1].named_modules() if isinstance(part, Linear)}
    assert {name for name, layer in layers.items() if layer.bias is not None} == BIASED[bias]
    torch.testing.assert_close(biased(tokens), plain(tokens), rtol=0, atol=0)  # they start at zero
    for name in BIASED[bias]:
        vector = layers[name].bias
        assert vector is not None
        vector.data = normal(*vector.shape)
        x = normal(3, layers[name].weight.shape[1], seed=1)
        torch.testing.assert_close(layers[name](x), F.linear(x, layers[name].weight, vector))


def rms(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


# The stream after a block whose norms have the weights 1, from the branches and the stream before.
BLOCKS = {
    SandwichNorm: lambda a, m, x: (y := x + rms(a(rms(x)))) + rms(m(rms(y))),
    PeriNorm: lambda a, m, x: (y := x + rms(a(rms(x)))) + rms(m(rms(y))),
    HybridNorm: lambda a, m, x: (y := rms(x + a(x))) + m(y),
    ParallelNorm: lambda a, m, x: x + a(rms(x)) + m(rms(x)),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_the_residual_lines_are_those_of_the_paper(block: Any, x: Tensor) -> None:
    attn, mlp = CausalSelfAttention(D, HEADS).double(), SiLU(D, 24).double()
    made = block(D, attn, mlp).double()
    torch.testing.assert_close(made(x), BLOCKS[block](attn, mlp, x))


def test_hybrid_norm_normalises_values_too(x: Tensor) -> None:
    attn = HybridNorm(D, CausalSelfAttention(D, HEADS), SiLU(D, 24)).attn.double()
    check(attn, attn(x), attend(*map(rms, parts(attn, x))))


def test_peri_norm_normalises_the_embedding() -> None:
    model = small_model(norm=PeriNorm)
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(random_tokens(2, 5))
    torch.testing.assert_close(seen[0], rms(model.embed(random_tokens(2, 5))))


@pytest.mark.parametrize("residual", [ReZero, LayerScale, EmbeddingSkip])
def test_a_branch_joins_the_stream_as_the_paper_says(residual: Any, x: Tensor) -> None:
    y, early, part = normal(2, TIME, D, seed=5, dtype=torch.float64), Early(x), residual(D).double()
    start = {ReZero: 0 * y, LayerScale: 0.1 * y, EmbeddingSkip: y}
    torch.testing.assert_close(part(y, early), start[residual], rtol=1e-6, atol=1e-6)
    (p,) = part.parameters()
    p.data = normal(*p.shape, seed=6, dtype=torch.float64)
    torch.testing.assert_close(part(y, early), y + p * x if residual is EmbeddingSkip else p * y)


def test_with_rezero_every_block_is_the_identity_at_first() -> None:
    model = small_model(residual=ReZero)
    tokens = random_tokens(2, 5)
    torch.testing.assert_close(model.hidden(tokens), model.norm(model.embed(tokens)))


# What is not allowed, and the sentence.
MISTAKES = {
    "groups that do not divide the heads": (lambda: GroupedQueryAttention(D, 4, n_kv_heads=3), r"n_kv_heads=3 is not"),
    "more groups than heads": (lambda: GroupedQueryAttention(D, 4, n_kv_heads=8), r"n_heads=4 must be a multiple"),
    "no groups": (lambda: GroupedQueryAttention(D, 4, n_kv_heads=0), r"model.attn.n_kv_heads=0 is not allowed"),
    "no window": (lambda: WindowAttention(D, 4, window=0), r"model.attn.window=0 is not allowed"),
    "half a window": (lambda: WindowAttention(D, 4, window=1.5), r"model.attn.window=1.5 is not allowed"),
    "no width": (lambda: Canon(D, width=0), r"model.mixer.width=0 is not allowed"),
    "a cap of zero": (lambda: CappedScores(cap=0), r"model.scores.cap=0 is not allowed: it must be a positive number"),
    "a cap of text": (lambda: CappedScores(cap="x"), r"model.scores.cap='x' is not allowed"),
    "a cap of the logits of zero": (lambda: CappedLogits(cap=0), r"model.logits.cap=0 is not allowed"),
    "all dropped": (lambda: Dropout(p=1), r"model.dropout.p=1 is not allowed: it must be a number from 0 to below 1"),
    "less than nothing dropped": (lambda: Dropout(p=-0.1), r"model.dropout.p=-0.1 is not allowed"),
    "dropped as text": (lambda: Dropout(p="a"), r"model.dropout.p='a' is not allowed"),
    "a negative start": (lambda: LayerScale(D, start=-1), r"model.residual.start=-1 is not allowed"),
    "more than all": (lambda: PartialRoPE(D, 2, 9, fraction=1.5), r"model.pos.fraction=1.5 is not allowed: it must be"),
    "nothing": (lambda: PartialRoPE(D, 2, 9, fraction=0), r"model.pos.fraction=0 is not allowed"),
    "every no layer": (lambda: NoPEEvery(D, 2, 9, every=0), r"model.pos.every=0 is not allowed"),
    "shorter texts": (lambda: YaRN(D, 2, 9, factor=0.5), r"model.pos.factor=0.5 is not allowed: it must be at least 1"),
    "speeds in disorder": (lambda: YaRN(D, 2, 9, slow=32, fast=1), r"model.pos.fast=1 is not allowed: it must be"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence(mistake: str) -> None:
    build, words = MISTAKES[mistake]
    with pytest.raises(UserError, match=words):
        build()


def test_vocabulary_and_width_stay_those_of_the_model() -> None:
    assert small_model(attn=MultiQueryAttention)(random_tokens(2, 5)).shape == (2, 5, VOCAB)
