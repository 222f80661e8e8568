import pytest
import torch

from lmablate.diagnostics.residual import Residual
from lmablate.model import PostNorm, PreNorm
from tests.diagnostics.helpers import evaluated, make_context, make_model


def mean_ratio(branch, stream) -> float:
    ratios = [b.norm() / s.norm() for b, s in zip(branch.flatten(0, 1), stream.flatten(0, 1), strict=True)]
    return float(sum(ratios) / len(ratios))


def mean_cosine(x, y) -> float:
    pairs = list(zip(x.flatten(0, 1), y.flatten(0, 1), strict=True))
    return float(sum(a @ b / (a.norm() * b.norm()) for a, b in pairs) / len(pairs))


def branches(block, x, pos):
    """Return the outputs of attention and MLP, each with the stream it is added to, by the papers' equations."""
    if isinstance(block, PreNorm):
        attn = block.attn(block.norm_1(x), pos)
        return (attn, x), (block.mlp(block.norm_2(x + attn)), x + attn)
    attn = block.attn(x, pos)
    middle = block.norm_1(x + attn)
    return (attn, x), (block.mlp(middle), middle)


@torch.no_grad()
@pytest.mark.parametrize("norm", [PreNorm, PostNorm])
def test_ratios_and_cosines_equal_those_of_blocks_written_out(norm):
    model = make_model(norm=norm)
    context = make_context(model)
    metrics, x = evaluated(Residual(), context), model.embed(context.tokens)
    assert len(metrics) == 3 * len(model.blocks)
    for i, block in enumerate(model.blocks):
        attn, mlp = branches(block, x, model.pos)
        assert metrics[f"residual/branch_ratio_attn/layer_{i}"] == pytest.approx(mean_ratio(*attn), rel=1e-4)
        assert metrics[f"residual/branch_ratio_mlp/layer_{i}"] == pytest.approx(mean_ratio(*mlp), rel=1e-4)
        y = block(x, model.pos)
        assert metrics[f"residual/stream_cosine/layer_{i}"] == pytest.approx(mean_cosine(x, y), abs=1e-5)
        x = y


@torch.no_grad()
def test_a_block_that_adds_nothing_has_ratio_0_and_cosine_1():
    model = make_model(norm=PreNorm)
    for matrix in (model.blocks[1].attn.o.weight, model.blocks[1].mlp.down.weight):
        matrix.zero_()
    metrics = evaluated(Residual(), make_context(model))
    assert metrics["residual/branch_ratio_attn/layer_1"] == metrics["residual/branch_ratio_mlp/layer_1"] == 0
    assert metrics["residual/stream_cosine/layer_1"] == pytest.approx(1)
    assert metrics["residual/stream_cosine/layer_0"] < 0.99
