"""The kernels equal their plain forms, in value and gradient, and step aside where they do not fit."""

import logging
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lmablate.model import LayerNorm, PostNorm, PreNorm, RoPE, SwiGLU, attention, cross_entropy, linear_cross_entropy
from lmablate.model.attention import causal_attention
from lmablate.model.fast import (
    FusedAttention,
    FusedRMSNorm,
    FusedSwiGLU,
    FusedTurn,
    adamw_,
    cross_entropy_,
    have_kernels,
    library,
)
from lmablate.model.norm import rms_norm
from lmablate.model.pos import ALiBi, NoPE
from lmablate.model.rope import turn_plain
from lmablate.training.optim import AdamW, adamw_update
from tests.model.helpers import assert_same, gradients, normal, random_tokens, small_model, value_and_gradients

needs_kernels = pytest.mark.skipif(library.kernels() is None, reason="no C compiler here")


@pytest.fixture
def no_kernels(monkeypatch):
    monkeypatch.setattr(library, "kernels", lambda: None)


def turns(time, d):
    angle = torch.outer(torch.arange(time, dtype=torch.float32), 1 / (1 + torch.arange(d // 2)))
    return torch.polar(torch.ones_like(angle), angle)


def unbiased(q, k, v):
    return attention(q, k, v, lambda scores: scores)


# fused form, plain form, shapes of the inputs
FORMS = {
    **{
        f"attention {shape}": (FusedAttention.apply, unbiased, [shape] * 3)
        for shape in [
            (1, 1, 1, 16), (2, 3, 2, 16), (1, 1, 31, 16), (2, 2, 32, 16), (1, 2, 33, 16), (1, 1, 63, 32),
            (2, 1, 65, 48), (1, 4, 128, 16), (1, 2, 100, 64), (1, 1, 257, 16),
        ]
    },
    **{
        f"turn {shape}": (
            lambda x: FusedTurn.apply(x, turns(*x.shape[2:])), lambda x: turn_plain(x, turns(*x.shape[2:])), [shape]
        )
        for shape in [(1, 1, 1, 16), (2, 3, 5, 16), (1, 2, 7, 48), (2, 1, 33, 64)]
    },
    **{
        f"swiglu {shape}": (FusedSwiGLU.apply, lambda gate, up: F.silu(gate) * up, [shape] * 2)
        for shape in [(16,), (3, 32), (2, 5, 24, 2), (7, 256)]
    },
    **{
        f"rms_norm {shape}": (
            lambda x, w: FusedRMSNorm.apply(x, w, 1e-5), lambda x, w: rms_norm(x, w, 1e-5), [shape, shape[-1:]]
        )
        for shape in [(1, 16), (4, 5, 16), (127, 32), (128, 48), (3, 129, 64)]
    },
}  # fmt: skip


@needs_kernels
@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.0])
@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_equals_its_plain_form_in_double_precision(form, scale):
    fused, plain, shapes = FORMS[form]
    inputs = [normal(*shape, seed=i) * scale for i, shape in enumerate(shapes)]
    exact = value_and_gradients(plain, *(x.double() for x in inputs))
    largest = max(float(wanted.norm()) for wanted in exact)
    for found, single, wanted in zip(
        value_and_gradients(fused, *inputs), value_and_gradients(plain, *inputs), exact, strict=True
    ):
        assert (found - wanted).norm() <= 5 * (single - wanted).norm() + 3e-6 * largest


@needs_kernels
@pytest.mark.parametrize("form", FORMS)
def test_the_bits_do_not_depend_on_the_number_of_threads(form, monkeypatch):
    fused, _, shapes = FORMS[form]
    inputs = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    one = value_and_gradients(fused, *inputs)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_same(value_and_gradients(fused, *inputs), one, rtol=0, atol=0)


@needs_kernels
@pytest.mark.parametrize("form", FORMS)
def test_inputs_in_any_memory_order_give_the_same_bits(form):
    fused, _, shapes = FORMS[form]
    inputs = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    strided = [torch.stack((x, x), -1)[..., 0] for x in inputs]
    assert_same([fused(*strided)], [fused(*inputs)], rtol=0, atol=0)


@needs_kernels
@pytest.mark.parametrize("form", FORMS)
def test_a_nan_is_not_lost(form):
    fused, _, shapes = FORMS[form]
    for i in range(len(shapes)):
        inputs = [normal(*shape, seed=j) for j, shape in enumerate(shapes)]
        inputs[i].view(-1)[0] = math.nan
        assert fused(*inputs).isnan().any()


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 16), (3, 32), (5, 1024), (40, 48)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_loss_kernel_equals_cross_entropy(shape, scale):
    logits, targets = normal(*shape) * scale, random_tokens(shape[0], vocab=shape[1])
    exact = logits.double().requires_grad_()
    losses = cross_entropy(exact, targets)
    (gradient,) = torch.autograd.grad(losses.sum() / 7, exact)
    found = cross_entropy_(logits, targets, 1 / 7)
    torch.testing.assert_close(found.double(), losses.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.double(), gradient, rtol=1e-4, atol=1e-7)


@needs_kernels
@pytest.mark.parametrize("target", [-1, 16, 2**40])
def test_a_target_outside_the_vocabulary_is_refused(target):
    with pytest.raises(IndexError, match="target"):
        cross_entropy_(normal(2, 16), torch.tensor([0, target]), 1.0)


@needs_kernels
def test_a_nan_logit_gives_a_nan_loss():
    logits = normal(3, 32)
    logits[1, 5] = math.nan
    assert cross_entropy_(logits, torch.tensor([0, 1, 2]), 1.0).isnan().tolist() == [False, True, False]


@needs_kernels
@pytest.mark.parametrize("n", [1, 15, 16, 1000])
def test_the_adamw_kernel_equals_its_definition(n):
    options: dict[str, Any] = dict(lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    p, m, v = normal(n), normal(n, seed=1), normal(n, seed=2).square()
    grad = normal(n, seed=3)
    exact = adamw_update(*(x.double() for x in (p, grad, m, v)), t=3, **options)
    adamw_(p, grad, m, v, t=3, **options)
    assert_same([p, m, v], [x.float() for x in exact], rtol=1e-5, atol=1e-6)


# tensors, the whole size, and whether the kernels can take them
FITTING = [
    ((normal(2, 16),), 16, True),
    ((normal(2, 16), torch.nn.Parameter(normal(16))), 32, True),
    ((normal(2, 16),), 24, False),
    ((normal(2, 16, dtype=torch.float64),), 16, False),
    ((normal(2, 16), normal(16, dtype=torch.bfloat16)), 16, False),
    ((torch.empty(2, 16, device="meta"),), 16, False),
    ((torch.empty(0, 16),), 16, False),
    ((normal(2, 16).as_subclass(type("Marked", (torch.Tensor,), {})),), 16, False),
]


@needs_kernels
@pytest.mark.parametrize(("tensors", "whole", "fit"), FITTING)
def test_kernels_take_what_fits(tensors, whole, fit):
    assert have_kernels(*tensors, whole=whole) is fit


@needs_kernels
@pytest.mark.parametrize("pos", [RoPE, NoPE, ALiBi])
@pytest.mark.parametrize("norm", [PreNorm, PostNorm])
def test_a_model_with_kernels_equals_one_without(pos, norm, monkeypatch):
    tokens, targets = random_tokens(3, 12, vocab=64), random_tokens(3, 12, vocab=64, seed=1)
    found = []
    for kernels in (library.kernels, lambda: None):
        monkeypatch.setattr(library, "kernels", kernels)
        model = small_model(vocab_size=64, d_model=32, d_ff=48, pos=pos, norm=norm)
        optimizer = AdamW(model.parameters(), lr=1e-3)
        loss = linear_cross_entropy(model.hidden(tokens), model.output_weight, targets)
        loss.backward()
        gradient = gradients(model.parameters())
        optimizer.step()
        found.append([loss.detach(), *gradient])
    assert_same(found[0], found[1], rtol=1e-3, atol=1e-5)


def test_a_bias_runs_the_plain_forms():
    pos = ALiBi(32, 2, 8)
    q, k, v = (normal(1, 2, 8, 16, seed=i) for i in range(3))
    assert_same([causal_attention(q, k, v, pos)], [attention(q, k, v, pos.bias)], rtol=1e-4, atol=1e-5)


def test_without_kernels_the_layers_still_work(no_kernels):
    assert not have_kernels(normal(16), whole=16)
    assert SwiGLU(16, 32)(normal(2, 16)).shape == LayerNorm(16)(normal(2, 16)).shape


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("no-such-compiler", "There is no no-such-compiler"), ("false", "No CPU kernels"), ("true", "No CPU kernels")],
)
def test_a_missing_or_failing_compiler_is_a_warning(compiler, message, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.kernels.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert library.kernels() is None
    finally:
        library.kernels.cache_clear()
    assert message in caplog.text


@needs_kernels
def test_a_new_cache_is_filled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []
    for _ in range(2):
        library.kernels.cache_clear()
        assert library.kernels() is not None
        made.append([(path, path.stat().st_mtime_ns) for path in tmp_path.rglob("kernels/*")])
    library.kernels.cache_clear()
    assert len(made[0]) == 1
    assert made[1] == made[0]


def test_importing_the_model_compiles_nothing():
    code = (
        "import lmablate.model.fast.library as library, sys; print(library.kernels.cache_info().currsize, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    compiled, *modules = done.stdout.split()
    assert compiled == "0"
    assert "numba" not in modules
