"""Tensors of any shape, type and layout: a piece answers, also backwards, or refuses in one sentence."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lmablate.errors import UserError
from lmablate.inference.decode import Sampler
from lmablate.model import (
    GELU,
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
    ReLU2,
    RMSNorm,
    RoPE,
    SiLU,
    Sinusoidal,
    SwiGLU,
    attention,
    causal_attention,
    cross_entropy,
    linear_cross_entropy,
    softmax,
)
from lmablate.training.optim import clip_grad_norm_
from tests.model.helpers import small_model

D, V = 4, 11
FLOATS = [torch.float32, torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64]
OTHERS = [torch.int64, torch.int32, torch.int16, torch.uint8, torch.uint16, torch.bool, torch.complex64]
IDS = [torch.int64, torch.int64, torch.int64, torch.int32, torch.uint8, torch.int8, torch.float32, torch.bool]


class Draws:
    """Random arguments. Most of them fit the pieces below, so that both answers and refusals occur."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        torch.manual_seed(seed)

    def one_of(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def shape(self) -> list[int]:
        return [self.one_of(0, 1, 2, 2, 3, 4, 4, 4, 5) for _ in range(self.one_of(0, 1, 1, 2, 2, 2, 3, 3, 4, 5))]

    def tensor(self, shape: list[int] | None = None, dtype: torch.dtype | None = None) -> Tensor:
        shape = self.shape() if shape is None else shape
        drawn: torch.dtype = self.one_of(*FLOATS, *FLOATS, *OTHERS) if dtype is None else dtype
        if drawn.is_floating_point or drawn.is_complex:
            x = torch.randn(shape).to(drawn)
        else:
            x = torch.randint(self.one_of(2, V, V + 1), shape).to(drawn)
        if x.dim() > 1 and self.random.random() < 0.2:
            x = x.mT
        return x.requires_grad_(drawn.is_floating_point and self.random.random() < 0.5)

    def ids(self, shape: list[int] | None = None) -> Tensor:
        return self.tensor(shape, self.one_of(*IDS)).detach()

    def heads(self) -> list[Tensor]:
        if self.random.random() < 0.3:
            return [self.tensor() for _ in range(3)]
        lead, dtype, queries = self.shape()[:3], self.one_of(*FLOATS), self.one_of(0, 1, 2, 4)
        keys = self.one_of(queries, queries, queries + 2, 3)
        shapes = [*lead, queries, D], [*lead, keys, D], [*lead, keys, self.one_of(D, D, 3)]
        return [self.tensor(shape, dtype) for shape in shapes]

    def scheme(self) -> Any:
        makers = (NoPE, RoPE, ALiBi, Learned, Sinusoidal)
        return self.one_of(*makers)(D, self.one_of(1, 2), 4)

    def targets(self, shape: list[int]) -> Tensor:
        return self.ids(self.one_of(shape, shape, shape, None))


def attend(draws: Draws) -> Tensor:
    q, k, v = draws.heads()
    return attention(q, k, v, draws.one_of(None, None, draws.scheme().bias), draws.one_of(None, draws.tensor()))


def attend_by_the_fastest_form(draws: Draws) -> Tensor:
    q, k, v = draws.heads()
    return causal_attention(q, k, v, draws.scheme())


def entropy(draws: Draws) -> Tensor:
    shape = draws.shape()
    return cross_entropy(draws.tensor([*shape, draws.one_of(V, V, D)]), draws.targets(shape))


def linear_entropy(draws: Draws) -> Tensor:
    shape = draws.shape()
    x, weight = draws.tensor([*shape, D]), draws.tensor(draws.one_of([V, D], [V, D], [V, D], None))
    return linear_cross_entropy(x, weight, draws.targets(shape))


def rotate(draws: Draws) -> Tensor:
    q, k = draws.one_of(lambda: [draws.tensor()] * 2, lambda: [draws.tensor(), draws.tensor()])()
    return draws.scheme().rotate(q, k, draws.one_of(0, 0, 1, 30, -1))[0]


def attend_in_a_layer(draws: Draws) -> Tensor:
    return CausalSelfAttention(D, 2)(draws.tensor(), draws.scheme(), draws.one_of(None, KVCache()))


def draw_tokens(draws: Draws) -> Tensor:
    logits = draws.tensor()
    return Sampler(draws.one_of(0, 1)).draw(logits, [torch.Generator()] * math.prod(logits.shape[:-1]))


def clip(draws: Draws) -> Tensor:
    params = [draws.tensor() for _ in range(draws.one_of(0, 1, 2))]
    for p in params:
        if p.requires_grad:
            p.grad = torch.ones_like(p)
    return clip_grad_norm_(params, draws.one_of(0, 1, 0.5, -1))


CALLS: dict[str, Callable[[Draws], Tensor]] = {
    "softmax": lambda draws: softmax(draws.tensor(), draws.one_of(-1, 0, 1, 2, -2, -4)),
    "attention": attend,
    "causal_attention": attend_by_the_fastest_form,
    "CausalSelfAttention": attend_in_a_layer,
    "rotate": rotate,
    "embed": lambda draws: draws.scheme().embed(draws.tensor(), draws.one_of(0, 0, 1, 3, -1)),
    "bias": lambda draws: draws.scheme().bias(draws.tensor()),
    "Linear": lambda draws: Linear(D, 3)(draws.tensor()),
    "RMSNorm": lambda draws: RMSNorm(D)(draws.tensor()),
    "LayerNorm": lambda draws: LayerNorm(D)(draws.tensor()),
    "SwiGLU": lambda draws: SwiGLU(D, 5)(draws.tensor()),
    "ReLU2": lambda draws: ReLU2(D, 5)(draws.tensor()),
    "GELU": lambda draws: GELU(D, 5)(draws.tensor()),
    "PreNorm": lambda draws: PreNorm(D, CausalSelfAttention(D, 2), SiLU(D, 4))(draws.tensor()),
    "PostNorm": lambda draws: PostNorm(D, CausalSelfAttention(D, 1), GeGLU(D, 4))(draws.tensor(), draws.scheme()),
    "Embedding": lambda draws: Embedding(V, D)(draws.ids()),
    "a model": lambda draws: small_model(vocab_size=V, pos=draws.one_of(RoPE, ALiBi, Learned))(draws.ids()),
    "cross_entropy": entropy,
    "linear_cross_entropy": linear_entropy,
    "probabilities": lambda draws: Sampler(1, draws.one_of(0, 2), draws.one_of(1, 0.5)).probabilities(draws.tensor()),
    "draw": draw_tokens,
    "clip_grad_norm_": clip,
}


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_any_input_is_answered_or_refused_in_one_sentence(call):
    draws, answers, refusals = Draws(seed=1), 0, set()
    for _ in range(500):
        try:
            out = call(draws)
            if out.requires_grad:
                out.double().sum().backward()
            answers += 1
        except UserError as refusal:
            refusals.add(str(refusal))
    assert answers > 20
    assert refusals
    assert not [message for message in refusals if "\n" in message]
