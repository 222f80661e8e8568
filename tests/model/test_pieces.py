"""Whoever takes one piece of the model into a notebook gets what its annotation says, or one sentence.

Each piece is a row, and so is each input that it refuses. The references are torch's own.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model import (
    GELU,
    GPT2,
    MLP,
    ALiBi,
    CausalSelfAttention,
    Embedding,
    GeGLU,
    KVCache,
    LayerNorm,
    Learned,
    Linear,
    NoPE,
    PostNorm,
    PreNorm,
    ReLU,
    RMSNorm,
    RoPE,
    Scaled,
    Sinusoidal,
    SwiGLU,
    TiedHead,
    UntiedHead,
    attention,
    causal_attention,
    cross_entropy,
    linear_cross_entropy,
    softmax,
)
from lmablate.model.attention import fused_causal_attention
from lmablate.model.norm import rms_norm
from tests.model.helpers import VOCAB, assert_same, normal, random_tokens, small_model, value_and_gradients

D, V, HEADS, TIME = 8, 11, 2, 5
LEADING = [(), (3,), (2, 3), (2, 1, 3), (1, 2, 1, 2), (0,), (2, 0), (0, 3)]
Shape = tuple[int, ...]
Function = Callable[..., Tensor]


def seeded(make: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return make()


def layer(make: Callable[[], nn.Module]) -> Callable[[Shape, torch.dtype], Any]:
    """A module over [..., time, D], against itself over one element of the batch at a time."""

    def row(lead: Shape, dtype: torch.dtype) -> tuple[Function, Function, list[Tensor]]:
        module = seeded(make).to(dtype)

        def one_by_one(x: Tensor) -> Tensor:
            flat = x.reshape(math.prod(lead), *x.shape[len(lead) :])
            return torch.stack([module(part) for part in flat]).view_as(x) if len(flat) else x * 1

        return module, one_by_one, [normal(*lead, TIME, D, dtype=dtype)]

    return row


def heads(lead: Shape, dtype: torch.dtype, keys: int = TIME) -> list[Tensor]:
    return [normal(*lead, n, D, seed=seed, dtype=dtype) for seed, n in enumerate((TIME, keys, keys))]


def with_mask(mask: Callable[[], Tensor]) -> Callable[[Shape, torch.dtype], Any]:
    def row(lead: Shape, dtype: torch.dtype) -> tuple[Function, Function, list[Tensor]]:
        given = mask()
        torchs = given if given.dtype == torch.bool else given.to(dtype)
        return (
            lambda q, k, v: attention(q, k, v, mask=given),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torchs),
            heads(lead, dtype),
        )

    return row


def wide_values(lead: Shape, dtype: torch.dtype) -> Any:
    q, k, _ = heads(lead, dtype)
    return (
        lambda q, k, v: causal_attention(q, k, v),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [q, k, normal(*lead, TIME, 3, dtype=dtype)],
    )


def norm(make: Callable[[], Any], reference: Function) -> Callable[[Shape, torch.dtype], Any]:
    def row(lead: Shape, dtype: torch.dtype) -> tuple[Function, Function, list[Tensor]]:
        module = make().to(dtype)
        return module, reference, [normal(*lead, D, dtype=dtype)]

    return row


def entropy(lead: Shape, dtype: torch.dtype) -> Any:
    targets = random_tokens(*lead, vocab=V)
    return (
        lambda x: cross_entropy(x, targets).to(dtype),
        lambda x: F.cross_entropy(x.reshape(-1, V).double(), targets.flatten(), reduction="none").view(lead).to(dtype),
        [normal(*lead, V, dtype=dtype)],
    )


def linear_entropy(lead: Shape, dtype: torch.dtype) -> Any:
    lead = lead if math.prod(lead) else (1, 1)  # of no tokens the mean is nan: see below
    targets = random_tokens(*lead, vocab=V)
    return (
        lambda x, w: linear_cross_entropy(x, w, targets).double(),
        lambda x, w: F.cross_entropy((x @ w.mT).reshape(-1, V).double(), targets.flatten()),
        [normal(*lead, D, dtype=dtype), normal(V, D, seed=1, dtype=dtype)],
    )


def rotation(lead: Shape, dtype: torch.dtype) -> Any:
    rope = RoPE(D, 1, 16)
    angle = torch.outer(torch.arange(TIME).double() + 2, 10_000.0 ** (-torch.arange(0, D, 2).double() / D))
    turns = torch.polar(torch.ones_like(angle), angle)

    def reference(x: Tensor) -> Tensor:
        pairs = x.double().unflatten(-1, (-1, 2))
        turned = torch.complex(pairs[..., 0], pairs[..., 1]) * turns
        return torch.stack((turned.real, turned.imag), dim=-1).flatten(-2).to(dtype)

    return lambda x: rope.rotate(x, x, start=2)[0], reference, [normal(*lead, TIME, D, dtype=dtype)]


def linear_biases(lead: Shape, dtype: torch.dtype) -> Any:
    position = torch.arange(TIME)
    distance = position[1:, None] - position
    slopes = torch.tensor([2.0**-4, 2.0**-8]).view(2, 1, 1)
    return (
        ALiBi(D, HEADS, 16).bias,
        lambda x: x - (slopes * distance).to(dtype),
        [normal(*lead, HEADS, TIME - 1, TIME, dtype=dtype)],
    )


def positions(lead: Shape, dtype: torch.dtype) -> Any:
    scheme = seeded(lambda: Learned(D, HEADS, 16)).to(dtype)
    return (
        lambda x: scheme.embed(x, start=3),
        lambda x: x + scheme.weight[3 : 3 + TIME],
        [normal(*lead, TIME, D, dtype=dtype)],
    )


def waves(lead: Shape, dtype: torch.dtype) -> Any:
    scheme = Sinusoidal(D, HEADS, 16)
    return (
        lambda x: scheme.embed(x, start=1),
        lambda x: x + scheme.get_buffer("table")[1 : 1 + TIME].to(dtype),
        [normal(*lead, TIME, D, dtype=dtype)],
    )


PIECES: dict[str, Callable[[Shape, torch.dtype], Any]] = {
    "softmax": lambda lead, dtype: (softmax, lambda x: F.softmax(x, -1), [normal(*lead, V, dtype=dtype)]),
    "attention": lambda lead, dtype: (
        attention,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        heads(lead, dtype),
    ),
    "attention, a bias that is None": lambda lead, dtype: (
        lambda q, k, v: attention(q, k, v, None),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        heads(lead, dtype),
    ),
    "attention, more keys": lambda lead, dtype: (
        attention,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.ones(TIME, 7, dtype=torch.bool).tril(2)),
        heads(lead, dtype, keys=7),
    ),
    "attention, every key": with_mask(lambda: torch.ones(TIME, TIME, dtype=torch.bool)),
    "attention, a boolean mask": with_mask(lambda: torch.eye(TIME, dtype=torch.bool).roll(1, 0)),
    "attention, one mask for all queries": with_mask(lambda: torch.tensor([[True, False, True, True, False]])),
    "attention, one mask for all keys": with_mask(lambda: torch.tensor([[True], [True], [False], [True], [False]])),
    "attention, queries that read nothing": with_mask(lambda: torch.ones(TIME, TIME, dtype=torch.bool).tril(-1)),
    "attention, numbers to add": with_mask(lambda: normal(TIME, TIME, seed=9)),
    "attention, numbers and -inf": with_mask(lambda: normal(TIME, TIME).masked_fill(torch.eye(TIME) > 0, -math.inf)),
    "attention, -inf alone": with_mask(lambda: torch.full((TIME, TIME), -math.inf)),
    "attention, float64 to add": with_mask(lambda: normal(1, TIME, seed=9).double()),
    "causal_attention": lambda lead, dtype: (causal_attention, attention, heads(lead, dtype)),
    "causal_attention, more keys": lambda lead, dtype: (causal_attention, attention, heads(lead, dtype, keys=9)),
    "causal_attention, wide values": wide_values,
    "causal_attention, ALiBi": lambda lead, dtype: (
        lambda q, k, v: causal_attention(q, k, v, ALiBi(D, HEADS, 16)),
        lambda q, k, v: attention(q, k, v, ALiBi(D, HEADS, 16).bias),
        heads((*lead, HEADS), dtype),
    ),
    "fused attention": lambda lead, dtype: (fused_causal_attention, attention, heads(lead, dtype, keys=TIME + 1)),
    "fused attention, ALiBi": lambda lead, dtype: (
        lambda q, k, v: fused_causal_attention(q, k, v, ALiBi(D, HEADS, 16)),
        lambda q, k, v: attention(q, k, v, ALiBi(D, HEADS, 16).bias),
        heads((*lead, HEADS), dtype),
    ),
    "RMSNorm": norm(lambda: RMSNorm(D), lambda x: F.rms_norm(x, (D,), eps=1e-5)),
    "rms_norm": norm(lambda: RMSNorm(D), lambda x: rms_norm(x, x.new_ones(D), 1e-5)),
    "LayerNorm": norm(lambda: LayerNorm(D), lambda x: F.layer_norm(x, (D,), eps=1e-5)),
    "cross_entropy": entropy,
    "linear_cross_entropy": linear_entropy,
    "RoPE": rotation,
    "ALiBi": linear_biases,
    "Learned": positions,
    "Sinusoidal": waves,
    "Linear": layer(lambda: Linear(D, D)),
    "ReLU": layer(lambda: ReLU(D, 3)),
    "SwiGLU": layer(lambda: SwiGLU(D, 12)),
    "GeGLU": layer(lambda: GeGLU(D, 12)),
    "CausalSelfAttention": layer(lambda: CausalSelfAttention(D, HEADS)),
    "PreNorm": layer(lambda: PreNorm(D, CausalSelfAttention(D, HEADS), GELU(D, 16))),
    "PostNorm": layer(lambda: PostNorm(D, CausalSelfAttention(D, 1), GELU(D, 16), kind="layernorm")),
}


@pytest.mark.parametrize("lead", LEADING, ids=str)
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
def test_a_piece_takes_any_number_of_dimensions_before_its_own(piece, lead):
    ours, reference, inputs = piece(lead, torch.float32)
    assert_same(value_and_gradients(ours, *inputs), value_and_gradients(reference, *inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
def test_a_piece_takes_any_precision(piece, dtype):
    ours, reference, inputs = piece((2, 3), dtype)
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 6e-2, torch.float64: 1e-5}[dtype]
    got, expected = value_and_gradients(ours, *inputs), value_and_gradients(reference, *inputs)
    assert [x.dtype for x in got] == [x.dtype for x in expected]
    assert_same(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_norm_takes_vectors_of_another_precision_than_its_weights(norm, dtype):
    x, module = normal(3, D, dtype=dtype).requires_grad_(), norm(D)
    out = module(x)
    out.sum().backward()
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), norm(D)(x.double()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("positions", [NoPE, RoPE, ALiBi, Learned, Sinusoidal])
@pytest.mark.parametrize("lead", LEADING, ids=str)
def test_a_model_takes_any_number_of_texts(lead, positions):
    model = small_model(pos=positions)
    tokens = random_tokens(*lead, 7)
    flat = tokens.reshape(math.prod(lead), 7)
    cache = model.new_cache()
    in_parts = [model(tokens[..., :4], cache), model(tokens[..., 4:], cache)]
    expected = model(flat).view(*lead, 7, VOCAB)
    torch.testing.assert_close(model(tokens), expected)
    torch.testing.assert_close(torch.cat(in_parts, dim=-2), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_softmax_takes_any_dimension(dim):
    x = normal(2, 3, 4) * 9
    ours, torchs = (
        value_and_gradients(lambda x: softmax(x, dim=dim), x),
        value_and_gradients(lambda x: x.softmax(dim), x),
    )
    assert_same(ours, torchs)


SOFTMAX: dict[str, Tensor] = {
    "one number": torch.tensor(3.0),
    "nothing": torch.zeros(0),
    "rows of nothing": torch.zeros(3, 0),
    "more than 16 bits can count": torch.zeros(70_000, dtype=torch.float16),
    "the largest of 16 bits": torch.tensor([65504.0, 65504.0, 0.0], dtype=torch.float16),
    "-inf beside a number": torch.tensor([-math.inf, 0.0]),
    "-inf alone": torch.tensor([-math.inf, -math.inf]),
}


@pytest.mark.parametrize("x", SOFTMAX.values(), ids=SOFTMAX.keys())
def test_softmax_is_torchs_at_the_edges(x):
    torch.testing.assert_close(softmax(x), F.softmax(x, -1), equal_nan=True)


def test_the_mean_loss_of_no_tokens_is_nan_as_in_torch():
    x, weight = normal(0, D).requires_grad_(), normal(V, D).requires_grad_()
    loss = linear_cross_entropy(x, weight, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.isnan()
    assert x.grad is not None
    assert x.grad.shape == (0, D)
    assert F.cross_entropy(x @ weight.mT, torch.zeros(0, dtype=torch.int64)).isnan()


IDS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("dtype", IDS, ids=str)
def test_tokens_may_be_of_any_whole_type(dtype):
    tokens, targets = random_tokens(2, 6), random_tokens(2, 6, seed=1)
    model = small_model()
    logits = model(tokens.to(dtype))
    assert torch.equal(logits, model(tokens))
    assert torch.equal(cross_entropy(logits, targets.to(dtype)), cross_entropy(logits, targets))
    losses = [linear_cross_entropy(model.hidden(tokens), model.output_weight, t) for t in (targets, targets.to(dtype))]
    assert torch.equal(*losses)


MEMORY: dict[str, Callable[[], Tensor]] = {
    "a transposed head": lambda: normal(2, D, TIME).mT,
    "an odd offset": lambda: normal(2 * TIME * D + 1)[1:].view(2, TIME, D),
    "a row of odd length": lambda: normal(2, TIME, D + 1)[..., :D],
    "every second number": lambda: normal(2, TIME, 2 * D)[..., ::2],
    "one row for all": lambda: normal(D).expand(2, TIME, D),
}


@pytest.mark.parametrize("make", MEMORY.values(), ids=MEMORY.keys())
def test_rope_does_not_care_how_its_input_lies_in_memory(make):
    x, rope = make(), RoPE(D, 1, 16)
    torch.testing.assert_close(rope.rotate(x, x)[0], rope.rotate(x.contiguous(), x.contiguous())[0])


def test_a_head_of_its_own_width_may_have_any_even_one():
    for width in (2, 4, 6, 10, 50):
        x = normal(3, TIME, width)
        torch.testing.assert_close(RoPE(width, 1, 16).rotate(x, x)[0].norm(dim=-1), x.norm(dim=-1))


def test_a_layer_that_stands_alone_has_numbers_and_a_model_draws_its_own():
    layers = [Linear(300, 200), Linear(300, 200), Embedding(200, 300), UntiedHead(200, 300), Learned(300, 2, 200)]
    for i, layer in enumerate(layers):
        assert layer.weight.std().item() == pytest.approx(300**-0.5, rel=0.05)
        assert not any(torch.equal(layer.weight, other.weight) for other in layers[:i])
    first = small_model().state_dict()
    assert all(torch.equal(first[name], other) for name, other in small_model().state_dict().items())


def mask_of(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


Q = normal(2, HEADS, TIME, D)
ONE = Q[0, 0]
ARRAY: Any = np.ones((5, 5), bool)
NUMBER: Any = 1
NOTHING: Any = None
WHOLE = torch.ones(2, HEADS, TIME, D, dtype=torch.int64)
TARGETS = random_tokens(2, 3, vocab=V)


def cached(*shape: int) -> KVCache:
    cache = KVCache()
    cache.extend(torch.zeros(shape), torch.zeros(shape))
    return cache


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    # one dimension is missing
    "RoPE, one vector": (lambda: RoPE(D, 1, 9).rotate(normal(D), normal(D)), r"shape \[\.\.\., time, 8\]"),
    "RoPE, one number": (lambda: RoPE(D, 1, 9).rotate(torch.tensor(1.0), torch.tensor(1.0)), r"in the shape \[\]"),
    "ALiBi, no heads": (lambda: ALiBi(D, 2, 9).bias(normal(4, 4)), r"\[\.\.\., 2, queries, keys\]"),
    "ALiBi in attention, no heads": (lambda: causal_attention(ONE, ONE, ONE, ALiBi(D, 2, 9)), "scores must"),
    "Learned, one vector": (lambda: Learned(D, 1, 9).embed(normal(D)), r"\[\.\.\., time, 8\]"),
    "Sinusoidal, one vector": (lambda: Sinusoidal(D, 1, 9).embed(normal(D)), r"\[\.\.\., time, 8\]"),
    "attention, one vector": (lambda: attention(normal(D), normal(D), normal(D)), r"q must hold floats in the shape"),
    "CausalSelfAttention, one vector": (lambda: CausalSelfAttention(D, 2)(normal(D)), r"\[\.\.\., time, 8\]"),
    "RMSNorm, one number": (lambda: RMSNorm(D)(torch.tensor(1.0)), r"\[\.\.\., 8\]"),
    "a model, one token": (lambda: small_model()(torch.tensor(3)), r"x must .*time, 16\]"),
    "cross_entropy, one number": (lambda: cross_entropy(torch.tensor(1.0), torch.tensor(0)), "logits must"),
    "linear_cross_entropy, one number": (
        lambda: linear_cross_entropy(torch.tensor(1.0), normal(V, D), torch.tensor(0)), "x must"
    ),
    # another width
    "RoPE, five numbers": (lambda: RoPE(D, 1, 9).rotate(normal(2, 5), normal(2, 5)), r"\[2, 5\]"),
    "RoPE, twice the width": (lambda: RoPE(2, 1, 9).rotate(normal(3, 4), normal(3, 4)), r"\[\.\.\., time, 2\]"),
    "RoPE, keys of another width": (lambda: RoPE(D, 1, 9).rotate(normal(3, D), normal(3, 4)), r"\[\.\.\., 3, 8\]"),
    "RoPE, keys of another time": (lambda: RoPE(D, 1, 9).rotate(normal(1, D), normal(4, D)), r"\[\.\.\., 1, 8\]"),
    "RMSNorm, one column": (lambda: RMSNorm(D)(normal(3, 1)), r"but holds float32 in the shape \[3, 1\]"),
    "LayerNorm, another width": (lambda: LayerNorm(D)(normal(3, 9)), r"\[\.\.\., 8\]"),
    "Linear, another width": (lambda: Linear(D, 2)(normal(3, 9)), r"\[\.\.\., 8\]"),
    "SwiGLU, another width": (lambda: SwiGLU(D, 12)(normal(3, 9)), r"\[\.\.\., 8\]"),
    "CausalSelfAttention, another width": (lambda: CausalSelfAttention(D, 2)(normal(3, 9)), r"time, 8\]"),
    "CausalSelfAttention, RoPE of another head": (
        lambda: CausalSelfAttention(D, 2)(normal(3, D), RoPE(D, 1, 9)), r"\[\.\.\., time, 8\]"
    ),
    "CausalSelfAttention, ALiBi of more heads": (
        lambda: CausalSelfAttention(D, 2)(normal(3, D), ALiBi(D, 4, 9)), r"\[\.\.\., 4, queries, keys\]"
    ),
    "Learned, another width": (lambda: Learned(D, 1, 9).embed(normal(3, 1)), r"time, 8\]"),
    "attention, keys of another width": (lambda: attention(Q, Q[..., :4], Q), r"k must .*keys, 8\]"),
    "attention, values of another time": (lambda: attention(Q, Q, Q[..., :2, :]), r"v must .*2, 2, 5, d_value\]"),
    "attention, keys of another batch": (lambda: attention(Q, Q[:1], Q[:1]), r"k must .*\[\.\.\., 2, 2, keys, 8\]"),
    "attention, one head for all": (lambda: causal_attention(Q, Q[:, :1], Q[:, :1]), r"k must"),
    "attention, a dimension more": (lambda: attention(Q[0], Q, Q), "equally many dimensions"),
    "attention, a dimension less": (lambda: attention(Q, Q[0], Q[0]), "k must"),
    "attention, more queries than keys": (lambda: attention(Q, Q[..., :3, :], Q[..., :3, :]), "5 queries"),
    "causal_attention, more queries": (lambda: causal_attention(Q, Q[..., :3, :], Q[..., :3, :]), "5 queries"),
    "ALiBi, more queries than keys": (lambda: ALiBi(D, 2, 9).bias(normal(2, 4, 3)), "4 queries"),
    "attention, a mask of another size": (lambda: attention(Q, Q, Q, mask=mask_of(4, 4)), r"5, 5\], but has \[4"),
    "attention, a mask of a larger batch": (lambda: attention(ONE, ONE, ONE, mask=mask_of(7, 5, 5)), "mask must"),
    "attention, a mask of numbers": (lambda: attention(Q, Q, Q, mask=mask_of(5, 5).long()), "mask must be"),
    "attention, a mask of numpy": (lambda: attention(Q, Q, Q, mask=ARRAY), "mask must be"),
    "attention, two precisions": (lambda: attention(Q, Q.double(), Q), "one type"),
    "attention, vectors of nothing": (lambda: attention(Q[..., :0], Q[..., :0], Q), "at least one number"),
    "Linear, another precision": (lambda: Linear(D, 2)(normal(3, D).double()), "one type, but are float64 and float32"),
    "SwiGLU, another precision": (lambda: SwiGLU(D, 2)(normal(3, D).half()), "one type, but are float16 and float32"),
    "CausalSelfAttention, another precision": (
        lambda: CausalSelfAttention(D, 2).bfloat16()(normal(3, D)), "one type, but are float32 and bfloat16"
    ),
    "cross_entropy, no vocabulary": (lambda: cross_entropy(normal(3, 0), random_tokens(3)), "vocab_size=0"),
    "linear_cross_entropy, no vocabulary": (
        lambda: linear_cross_entropy(normal(3, D), normal(0, D), random_tokens(3)), "vocab_size=0"
    ),
    "a cache of another batch": (lambda: cached(2, HEADS, 3, D).extend(Q[:1], Q[:1]), r"k must .*2, 2, time, 8\]"),
    "a cache of another width": (lambda: cached(2, HEADS, 3, 4).extend(Q, Q), r"time, 4\]"),
    "a cache of fewer layers": (lambda: small_model()(random_tokens(1, 3), []), "cache has 0 layers"),
    "a cache of more layers": (lambda: small_model()(random_tokens(1, 3), [KVCache()] * 3), "cache has 3 layers"),
    "cross_entropy, a target too few": (lambda: cross_entropy(normal(2, 3, V), TARGETS[:, :1]), r"\[2, 3\], one"),
    "cross_entropy, targets of one text": (lambda: cross_entropy(normal(2, 3, V), TARGETS[0]), r"but have \[3\]"),
    "cross_entropy, one target for all": (lambda: cross_entropy(normal(2, 3, V), torch.tensor(1)), r"but have \[\]"),
    "cross_entropy, transposed targets": (lambda: cross_entropy(normal(2, 3, V), TARGETS.mT), r"but have \[3, 2\]"),
    "linear_cross_entropy, transposed targets": (
        lambda: linear_cross_entropy(normal(2, 3, D), normal(V, D), TARGETS.mT), r"\[2, 3\], one for each"
    ),
    "linear_cross_entropy, flat targets": (
        lambda: linear_cross_entropy(normal(2, 3, D), normal(V, D), TARGETS.flatten()), r"but have \[6\]"
    ),
    "linear_cross_entropy, another width": (
        lambda: linear_cross_entropy(normal(2, 3, D), normal(V, 4), TARGETS), r"\[\.\.\., 4\]"
    ),
    "linear_cross_entropy, two matrices": (
        lambda: linear_cross_entropy(normal(2, 3, D), normal(2, V, D), TARGETS), "weight must"
    ),
    # whole numbers where floats belong, and the other way round
    "softmax, whole numbers": (lambda: softmax(torch.tensor([1, 2])), "x must hold floats .* int64"),
    "softmax, True and False": (lambda: softmax(torch.tensor([True])), "bool"),
    "attention, whole numbers": (lambda: attention(WHOLE, WHOLE, WHOLE), "q must hold floats"),
    "RMSNorm, whole numbers": (lambda: RMSNorm(D)(WHOLE), "int64"),
    "LayerNorm, whole numbers": (lambda: LayerNorm(D)(WHOLE), "int64"),
    "RoPE, whole numbers": (lambda: RoPE(D, 1, 9).rotate(WHOLE, WHOLE), "int64"),
    "ALiBi, whole numbers": (lambda: ALiBi(D, 2, 9).bias(WHOLE), "int64"),
    "Sinusoidal, whole numbers": (lambda: Sinusoidal(D, 2, 9).embed(WHOLE), "int64"),
    "Learned, whole numbers": (lambda: Learned(D, 2, 9).embed(WHOLE), "int64"),
    "Linear, whole numbers": (lambda: Linear(D, 2)(WHOLE), "int64"),
    "SwiGLU, whole numbers": (lambda: SwiGLU(D, 2)(WHOLE), "int64"),
    "RMSNorm, complex numbers": (lambda: RMSNorm(D)(normal(D) + 1j), "complex64"),
    "cross_entropy, whole logits": (lambda: cross_entropy(WHOLE[..., 0], random_tokens(2, 2)), "logits must"),
    "linear_cross_entropy, whole vectors": (
        lambda: linear_cross_entropy(WHOLE[0, 0], normal(V, D), random_tokens(5)), "x must hold floats"
    ),
    "Embedding, floats": (lambda: Embedding(V, D)(normal(3)), "token ids, which are whole numbers"),
    "Embedding, True and False": (lambda: Embedding(V, D)(torch.tensor([True])), "bool"),
    "cross_entropy, float targets": (lambda: cross_entropy(normal(2, 3, V), normal(2, 3)), "targets must hold token"),
    "cross_entropy, probabilities": (lambda: cross_entropy(normal(3, V), normal(3, V)), "targets must hold token ids"),
    # what is no tensor
    "softmax, a list": (lambda: softmax([1.0, 2.0]), "must be a torch tensor, but is of the type list"),  # pyright: ignore
    "RMSNorm, an array": (lambda: RMSNorm(D)(np.ones((2, D))), "ndarray"),
    "Embedding, a list": (lambda: Embedding(V, D)([1, 2]), "tokens must be a torch tensor"),
    "Linear, nothing": (lambda: Linear(D, D)(None), "NoneType"),
    # ids outside the vocabulary
    "Embedding, too high": (lambda: Embedding(V, D)(torch.tensor([3, V])), r"tokens must be from 0 to 10, .*has 11"),
    "Embedding, negative": (lambda: Embedding(V, D)(torch.tensor([[-1]])), r"has -1\."),
    "a model, too high": (lambda: small_model()(torch.tensor([[99]])), r"from 0 to 60"),
    "cross_entropy, too high": (lambda: cross_entropy(normal(3, V), torch.tensor([0, 1, V])), r"targets .*has 11\."),
    "cross_entropy, to be ignored": (lambda: cross_entropy(normal(3, V), torch.tensor([0, 1, -100])), r"has -100"),
    "linear_cross_entropy, too high": (
        lambda: linear_cross_entropy(normal(3, D), normal(V, D), torch.tensor([0, 1, 50])), r"from 0 to 10"
    ),
    "linear_cross_entropy, negative": (
        lambda: linear_cross_entropy(normal(3, D), normal(V, D), torch.tensor([0, 1, -1])), r"has -1\."
    ),
    # numbers
    "softmax, a dimension too high": (lambda: softmax(normal(2, 3), dim=2), "dim=2"),
    "softmax, a dimension too low": (lambda: softmax(normal(2, 3), dim=-3), "dim=-3"),
    "RoPE, a negative position": (lambda: RoPE(D, 1, 9).rotate(normal(2, D), normal(2, D), start=-1), "start=-1"),
    "Learned, a negative position": (lambda: Learned(D, 1, 9).embed(normal(2, D), start=-2), "start=-2"),
    "Sinusoidal, a negative position": (lambda: Sinusoidal(D, 1, 9).embed(normal(2, D), start=-2), "start=-2"),
    "RMSNorm, a negative eps": (lambda: RMSNorm(D, eps=-1e-5), "eps=-1e-05"),
    "Scaled, a salt that is a number": (lambda: Scaled(salt=NUMBER), r"model\.init\.salt=1"),
    "GPT2, a salt that is nothing": (lambda: GPT2(salt=NOTHING), r"model\.init\.salt=None"),
    "GPT2, no layers": (lambda: GPT2().fill(small_model(), 0, seed=0), "n_layers=0"),
    "LayerNorm, an eps that is no number": (lambda: LayerNorm(D, eps=math.nan), "eps=nan"),
}  # fmt: skip


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_in_one_sentence(call, message):
    with pytest.raises(UserError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)


SIZES: dict[str, Callable[[Any], Any]] = {
    "Linear d_in": lambda n: Linear(n, 4),
    "Linear d_out": lambda n: Linear(4, n),
    "Embedding vocab_size": lambda n: Embedding(n, 4),
    "Embedding d_model": lambda n: Embedding(4, n),
    "UntiedHead d_model": lambda n: UntiedHead(4, n),
    "RMSNorm d_model": lambda n: RMSNorm(n),
    "LayerNorm d_model": lambda n: LayerNorm(n),
    "SwiGLU d_in": lambda n: SwiGLU(n, 4),
    "ReLU d_out": lambda n: ReLU(4, n),
    "CausalSelfAttention model.d_model": lambda n: CausalSelfAttention(n, 1),
    "CausalSelfAttention model.n_heads": lambda n: CausalSelfAttention(4, n),
    "RoPE model.d_model": lambda n: RoPE(n, 1, 4),
    "RoPE model.n_heads": lambda n: RoPE(4, n, 4),
    "ALiBi model.n_heads": lambda n: ALiBi(4, n, 4),
    "Learned model.context_length": lambda n: Learned(4, 1, n),
    "Sinusoidal model.context_length": lambda n: Sinusoidal(4, 1, n),
    "a model vocab_size": lambda n: small_model(vocab_size=n),
    "a model model.n_layers": lambda n: small_model(n_layers=n),
    "a model model.d_ff": lambda n: small_model(d_ff=n),
}


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize("size", [0, -2, 2.5, 4.0, "4", None, True, [4]], ids=repr)
@pytest.mark.parametrize("row", SIZES)
def test_a_size_that_is_none_is_named(row, size):
    key = row.rsplit(" ", 1)[-1]
    with pytest.raises(UserError, match=f"{key}=.* must be a whole number, and it must be at least 1"):
        SIZES[row](size)


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize("as_given", [np.int64, np.int32, np.uint8])
def test_a_size_may_come_from_numpy(as_given):
    assert Linear(as_given(3), as_given(2))(normal(4, 3)).shape == (4, 2)
    assert CausalSelfAttention(as_given(8), as_given(2))(normal(4, 8)).shape == (4, 8)
    assert TiedHead(as_given(3), as_given(2)).tied


def test_a_base_class_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="must define activation"):
        MLP(4, 4)(normal(4))
