import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lmablate.errors import UserError
from lmablate.model import CappedLogits, CrossEntropy, ZLoss, cross_entropy, linear_cross_entropy, linear_z_loss
from lmablate.model.loss import LinearCrossEntropy
from lmablate.training.step import NextTokenLoss
from tests.model.helpers import assert_same, gradients, normal, random_tokens, small_model, value_and_gradients

TOKENS, D, V = 23, 8, 31


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    return normal(TOKENS, D, dtype=dtype), normal(V, D, seed=1, dtype=dtype), random_tokens(TOKENS, vocab=V)


def plain(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(x @ weight.mT, targets).mean()


def test_cross_entropy_equals_torchs():
    logits, targets = normal(4, 7, V) * 5, random_tokens(4, 7, vocab=V)
    written_out = value_and_gradients(lambda x: cross_entropy(x, targets), logits)
    torchs = value_and_gradients(lambda x: F.cross_entropy(x.mT, targets, reduction="none"), logits)
    assert_same(written_out, torchs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_losses_of_large_logits_neither_overflow_nor_underflow(scale):
    logits = torch.tensor([[scale, 0.0, -scale]])
    losses = [cross_entropy(logits, torch.tensor([i])).item() for i in range(3)]
    assert losses == pytest.approx([0, scale, 2 * scale])


def test_equal_logits_give_a_loss_of_ln_v():
    assert (
        cross_entropy(torch.zeros(3, 10_000), torch.tensor([0, 5, 9999])).tolist()
        == [pytest.approx(math.log(10_000))] * 3
    )


@pytest.mark.parametrize("chunk", [1, 5, 23, 1024])
def test_the_chunked_loss_and_its_gradients_equal_the_plain_ones(chunk, monkeypatch):
    monkeypatch.setattr(LinearCrossEntropy, "CHUNK", chunk)
    x, weight, targets = inputs()
    chunked = value_and_gradients(lambda x, w: linear_cross_entropy(x, w, targets), x, weight)
    assert_same(chunked, value_and_gradients(lambda x, w: plain(x, w, targets), x, weight))


def test_the_gradient_of_the_chunked_loss_is_exact(monkeypatch):
    monkeypatch.setattr(LinearCrossEntropy, "CHUNK", 7)
    x, weight, targets = inputs(torch.float64)
    x.requires_grad_()
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: linear_cross_entropy(x, w, targets), (x, weight))


@pytest.mark.parametrize("side", ["x", "weight"])
def test_the_gradient_of_one_side_alone_equals_the_plain_one(side):
    x, weight, targets = inputs()
    (x if side == "x" else weight).requires_grad_()
    linear_cross_entropy(x, weight, targets).backward()
    plain_x, plain_weight = (t.detach().clone().requires_grad_() for t in (x, weight))
    plain(plain_x, plain_weight, targets).backward()
    expected = plain_x.grad if side == "x" else plain_weight.grad
    torch.testing.assert_close((x if side == "x" else weight).grad, expected)


def test_loss_and_gradients_of_extreme_states_are_finite():
    x, weight, targets = inputs()
    loss, dx, dw = value_and_gradients(lambda x, w: linear_cross_entropy(x, w, targets), 1e4 * x, weight)
    assert loss.isfinite()
    assert dx.isfinite().all()
    assert dw.isfinite().all()


def test_two_backward_passes_agree_and_a_scaled_loss_scales_its_gradients():
    x, weight, targets = (*(t.requires_grad_() for t in inputs()[:2]), inputs()[2])
    loss = linear_cross_entropy(x, weight, targets)
    once = torch.autograd.grad(loss, (x, weight), retain_graph=True)
    thrice = torch.autograd.grad(3 * loss, (x, weight), retain_graph=True)
    assert_same([3 * g for g in once], list(thrice))
    assert_same(list(torch.autograd.grad(loss, (x, weight))), list(once), rtol=0, atol=0)


class SavedTensors:
    """Counts the bytes that autograd keeps for the backward pass."""

    def __init__(self) -> None:
        self.bytes = 0

    def __enter__(self) -> "SavedTensors":
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda x: x)
        self.hooks.__enter__()
        return self

    def pack(self, x: Tensor) -> Tensor:
        self.bytes += x.nbytes
        return x

    def __exit__(self, *error) -> None:
        self.hooks.__exit__(*error)


class ProductCount(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_)
        return func(*args, **(kwargs or {}))


def matrix_products(f: Callable[[], Tensor]) -> int:
    with ProductCount() as products:
        f()
    return products.count


def test_gradients_are_computed_only_if_they_are_needed():
    x, weight, targets = inputs()
    weight.requires_grad_()
    assert matrix_products(lambda: linear_cross_entropy(x, weight, targets)) == 3
    with torch.no_grad():
        assert matrix_products(lambda: linear_cross_entropy(x, weight, targets)) == 1
    assert matrix_products(lambda: linear_cross_entropy(x, weight.detach(), targets)) == 1


def test_autograd_keeps_no_logits():
    weight, targets = normal(5000, D).requires_grad_(), random_tokens(TOKENS, vocab=5000)
    with SavedTensors() as saved:
        linear_cross_entropy(inputs()[0], weight, targets)
    assert saved.bytes == (5000 * D + TOKENS * D) * 4
    with SavedTensors() as saved:
        plain(inputs()[0], weight, targets)
    assert saved.bytes > TOKENS * 5000 * 4


def test_a_tied_matrix_gets_the_gradients_of_both_its_uses():
    model, twin = small_model(), small_model()
    tokens, targets = random_tokens(2, 12), random_tokens(2, 12, seed=1)
    NextTokenLoss(model)(tokens, targets).backward()
    cross_entropy(twin(tokens), targets).mean().backward()
    assert_same(gradients(model.parameters()), gradients(twin.parameters()), rtol=1e-4, atol=1e-6)


def test_autocast_multiplies_in_bf16_and_sums_in_float32():
    x, weight, targets = (*(t.requires_grad_() for t in inputs()[:2]), inputs()[2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(x, weight, targets)
    loss.backward()
    dx, dw = gradients((x, weight))
    assert loss.dtype == dx.dtype == dw.dtype == torch.float32
    exact = value_and_gradients(lambda x, w: plain(x, w, targets), x, weight)
    torch.testing.assert_close(loss.detach(), exact[0], rtol=0.02, atol=0)
    direction = torch.autograd.grad(plain(x, weight, targets), (x, weight))
    for got, expected in zip((dx, dw), direction, strict=True):
        assert (got - expected).norm() < 0.02 * expected.norm()


def test_bf16_inputs_give_a_float32_loss_near_the_exact_one():
    x, weight, targets = inputs()
    loss = linear_cross_entropy(x.bfloat16(), weight.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain(x, weight, targets), rtol=0.02, atol=0)


# ---- The z-loss ----


def plain_z(x: Tensor, weight: Tensor, targets: Tensor, z_weight: float, cap: float = math.inf) -> Tensor:
    logits = CappedLogits(cap=cap)(x @ weight.mT) if cap < math.inf else x @ weight.mT
    return (F.cross_entropy(logits, targets, reduction="none") + z_weight * logits.logsumexp(-1).square()).mean()


@pytest.mark.parametrize(
    ("z_weight", "cap"), [(0.0, math.inf), (1e-4, math.inf), (0.3, math.inf), (0.0, 2.0), (0.3, 2.0)]
)
@pytest.mark.parametrize("vocab", [V, 48], ids=["plain", "kernel"])
@pytest.mark.parametrize("chunk", [5, 23, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_chunked_z_loss_and_its_gradients_equal_the_plain_ones(dtype, chunk, vocab, z_weight, cap, monkeypatch):
    monkeypatch.setattr(LinearCrossEntropy, "CHUNK", chunk)
    x, weight = normal(TOKENS, 16, dtype=dtype), normal(vocab, 16, seed=1, dtype=dtype)
    targets = random_tokens(TOKENS, vocab=vocab)
    expected = value_and_gradients(lambda x, w: plain_z(x, w, targets, z_weight, cap), x, weight)
    assert_same(value_and_gradients(lambda x, w: linear_z_loss(x, w, targets, z_weight, cap)[0], x, weight), expected)
    if z_weight == 0:
        assert_same(value_and_gradients(lambda x, w: linear_cross_entropy(x, w, targets, cap), x, weight), expected)


def test_the_gradient_of_the_z_loss_is_exact(monkeypatch):
    monkeypatch.setattr(LinearCrossEntropy, "CHUNK", 7)
    x, weight, targets = inputs(torch.float64)
    inputs_with_gradient = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, w: linear_z_loss(x, w, targets, 0.1)[0], inputs_with_gradient)


def test_the_cross_entropy_beside_the_z_loss_is_the_same_and_has_no_gradient():
    x, weight, targets = inputs()
    whole, loss = linear_z_loss(x.requires_grad_(), weight, targets, 0.1)
    assert torch.equal(loss, linear_cross_entropy(x, weight, targets))
    assert whole > loss
    assert not loss.requires_grad
    with torch.no_grad():
        assert_same([*linear_z_loss(x, weight, targets, 0.1)], [whole.detach(), loss], rtol=0, atol=0)


def test_the_z_loss_of_bf16_is_near_the_exact_one():
    x, weight, targets = (*(t.requires_grad_() for t in inputs()[:2]), inputs()[2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole, _ = linear_z_loss(x, weight, targets, 0.1)
    whole.backward()
    exact = torch.autograd.grad(plain_z(x, weight, targets, 0.1), (x, weight))
    torch.testing.assert_close(whole, plain_z(x, weight, targets, 0.1), rtol=0.02, atol=0)
    for got, expected in zip(gradients((x, weight)), exact, strict=True):
        assert (got - expected).norm() < 0.02 * expected.norm()


def test_a_cap_in_bf16_is_near_the_exact_one():
    x, weight, targets = (*(t.requires_grad_() for t in inputs()[:2]), inputs()[2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(x, weight, targets, 2.0)
    loss.backward()
    exact = torch.autograd.grad(plain_z(x, weight, targets, 0.0, 2.0), (x, weight))
    for got, expected in zip(gradients((x, weight)), exact, strict=True):
        assert (got - expected).norm() < 0.02 * expected.norm()


def test_a_model_is_trained_on_the_logits_that_it_predicts_with():
    model, tokens = small_model(logits=lambda: CappedLogits(cap=0.5)), random_tokens(2, 9)
    x, y = tokens[:, :-1], tokens[:, 1:]
    assert model(x).abs().max() < 0.5 < small_model()(x).abs().max()
    torch.testing.assert_close(NextTokenLoss(model)(x, y), cross_entropy(model(x), y).mean())


def test_the_z_loss_pulls_log_z_to_0():
    weight, targets = torch.zeros(V, D), random_tokens(TOKENS, vocab=V)
    x = normal(TOKENS, D)
    whole, loss = ZLoss(0.5)(x, weight, targets)
    assert whole - loss == pytest.approx(0.5 * math.log(V) ** 2, rel=1e-5)
    assert CrossEntropy()(x, weight, targets) == pytest.approx(math.log(V))


@pytest.mark.parametrize("weight", [-1e-4, math.inf, math.nan])
def test_a_weight_of_the_z_loss_out_of_range_is_refused(weight):
    with pytest.raises(UserError, match=f"loss.weight={weight} is not allowed"):
        ZLoss(weight)


def test_a_target_of_the_z_loss_out_of_range_is_named():
    with pytest.raises(UserError, match=f"from 0 to {V - 1}"):
        linear_z_loss(*inputs()[:2], torch.full((TOKENS,), V), 0.1)
