import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmablate.errors import UserError
from lmablate.model import ALiBi, CausalSelfAttention, NoPE, attention, causal_attention, softmax
from lmablate.model.attention import BlockCausalAttention, fused_causal_attention
from tests.model.helpers import assert_same, normal, value_and_gradients

BLOCK = BlockCausalAttention.BLOCK
LENGTHS = (1, 7, BLOCK, BLOCK + 1, 3 * BLOCK - 5)
POSITIONS = {"no bias": NoPE(8, 2, 256), "ALiBi": ALiBi(8, 2, 256)}


def heads(time: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [normal(2, 2, time, 4, seed=seed, dtype=dtype) for seed in range(3)]


def test_softmax_equals_torchs_and_does_not_overflow():
    x = normal(5, 9) * 30
    assert_same(value_and_gradients(softmax, x), value_and_gradients(lambda x: F.softmax(x, -1), x))
    assert softmax(torch.tensor([1e30, 0.0])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("time", LENGTHS)
def test_attention_equals_torchs_scaled_dot_product(time):
    written_out = value_and_gradients(lambda q, k, v: attention(q, k, v, NoPE(8, 2, 256).bias), *heads(time))
    torchs = value_and_gradients(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), *heads(time))
    assert_same(written_out, torchs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pos", POSITIONS.values(), ids=POSITIONS.keys())
@pytest.mark.parametrize("time", LENGTHS)
def test_attention_in_blocks_equals_attention(time, pos):
    blocks = value_and_gradients(lambda q, k, v: BlockCausalAttention.apply(q, k, v, pos.bias), *heads(time))
    whole = value_and_gradients(lambda q, k, v: attention(q, k, v, pos.bias), *heads(time))
    assert_same(blocks, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pos", POSITIONS.values(), ids=POSITIONS.keys())
def test_the_gradient_of_attention_in_blocks_is_exact(pos, monkeypatch):
    monkeypatch.setattr(BlockCausalAttention, "BLOCK", 3)
    inputs = [x[:1, :, :, :2].requires_grad_() for x in heads(8, torch.float64)]
    assert torch.autograd.gradcheck(lambda q, k, v: BlockCausalAttention.apply(q, k, v, pos.bias), inputs)


@pytest.mark.parametrize("pos", POSITIONS.values(), ids=POSITIONS.keys())
@pytest.mark.parametrize("first", [0, 7])
def test_fused_attention_equals_attention(pos, first):
    """Also with fewer queries than keys, as with a cache."""
    q, k, v = heads(10)
    got = fused_causal_attention(q[:, :, first:], k, v, pos)
    torch.testing.assert_close(got, attention(q[:, :, first:], k, v, pos.bias))


def test_two_backward_passes_through_attention_give_the_same_bits():
    q, k, v = (x.requires_grad_() for x in heads(70))
    out = causal_attention(q, k, v, NoPE(8, 2, 256)).square().sum()
    once = torch.autograd.grad(out, (q, k, v), retain_graph=True)
    assert_same(list(torch.autograd.grad(out, (q, k, v))), list(once), rtol=0, atol=0)


def test_a_second_derivative_of_attention_is_refused_instead_of_wrong():
    q, k, v = (x.requires_grad_() for x in heads(5))
    out = causal_attention(q, k, v, NoPE(8, 2, 256)).square().sum()
    (grad,) = torch.autograd.grad(out, q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_multi_head_attention_equals_torchs():
    layer, torchs = CausalSelfAttention(16, 4), nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat([layer.q.weight, layer.k.weight, layer.v.weight]))
        torchs.out_proj.weight.copy_(layer.o.weight)
    x = normal(3, 10, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(10)
    expected, _ = torchs(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
    torch.testing.assert_close(layer(x, NoPE(16, 4, 32)), expected, rtol=1e-4, atol=1e-5)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(UserError, match=r"model\.d_model=100.*model\.n_heads=3"):
        CausalSelfAttention(100, 3)
