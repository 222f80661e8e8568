import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmablate.errors import UserError
from lmablate.model import LayerNorm, RMSNorm
from lmablate.model.norm import layer_norm, make_norm, rms_norm
from tests.model.helpers import assert_same, normal, value_and_gradients

WEIGHT, BIAS = normal(16, seed=1) + 1, normal(16, seed=2)


def rms_norm_layer(x, weight):
    return torch.func.functional_call(RMSNorm(16), {"weight": weight}, (x,))


def layer_norm_layer(x, weight, bias):
    return torch.func.functional_call(LayerNorm(16), {"weight": weight, "bias": bias}, (x,))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rms_norm_equals_torchs(scale):
    x = normal(4, 5, 16) * scale
    torchs = value_and_gradients(lambda x, w: F.rms_norm(x, (16,), w, eps=1e-5), x, WEIGHT)
    assert_same(value_and_gradients(rms_norm_layer, x, WEIGHT), torchs, rtol=1e-4, atol=1e-5 / scale)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_layer_norm_equals_torchs(scale):
    x = normal(4, 5, 16) * scale + 3 * scale
    torchs = value_and_gradients(lambda x, w, b: F.layer_norm(x, (16,), w, b, eps=1e-5), x, WEIGHT, BIAS)
    assert_same(value_and_gradients(layer_norm_layer, x, WEIGHT, BIAS), torchs, rtol=1e-4, atol=2e-5 / scale)


def test_the_norm_layers_equal_their_definitions():
    x = normal(4, 5, 16) * 3 + 1
    plain = value_and_gradients(lambda x, w: rms_norm(x, w, 1e-5), x, WEIGHT)
    assert_same(value_and_gradients(rms_norm_layer, x, WEIGHT), plain, rtol=1e-4, atol=1e-5)
    plain = value_and_gradients(lambda x, w, b: layer_norm(x, w, b, 1e-5), x, WEIGHT, BIAS)
    assert_same(value_and_gradients(layer_norm_layer, x, WEIGHT, BIAS), plain, rtol=1e-4, atol=1e-5)


def test_two_backward_passes_through_rms_norm_give_the_same_bits():
    x, weight = normal(4, 16).requires_grad_(), WEIGHT.clone().requires_grad_()
    out = rms_norm_layer(x, weight).square().sum()
    once = torch.autograd.grad(out, (x, weight), retain_graph=True)
    assert_same(list(torch.autograd.grad(out, (x, weight))), list(once), rtol=0, atol=0)


def test_the_gradients_of_the_norms_are_exact():
    x, weight, bias = (normal(*shape, seed=3, dtype=torch.float64, grad=True) for shape in ((3, 16), (16,), (16,)))
    assert torch.autograd.gradcheck(rms_norm_layer, (x, weight))
    assert torch.autograd.gradcheck(layer_norm_layer, (x, weight, bias))


@pytest.mark.parametrize("norm", [RMSNorm(16), LayerNorm(16)])
def test_bf16_vectors_are_normalised_in_float32(norm: nn.Module):
    x = normal(4, 16) * 100
    half = norm.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm.float()(x.bfloat16().float()), rtol=2**-7, atol=2**-7)


def test_an_unknown_kind_of_norm_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"model\.norm\.kind='batchnorm'.*rmsnorm, layernorm"):
        make_norm("batchnorm", 8)
