"""The sizes of activations, against those that a forward pass written out here finds."""

import torch
from torch import Tensor

from lmablate.diagnostics.coordinates import Coordinates
from lmablate.diagnostics.probe import ProbeContext
from tests.model.helpers import random_tokens, small_model


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


@torch.no_grad()
def test_each_size_is_the_root_mean_square_of_its_activations() -> None:
    model, tokens = small_model(), random_tokens(2, 9)
    found = Coordinates().at_evaluation(ProbeContext(model, 0, 1, tokens, tokens))
    x, expected = model.embed(tokens), {}
    for i, block in enumerate(model.blocks):
        attn = block.attn(block.norm_1(x), model.pos)
        mlp = block.mlp(block.norm_2(x + attn))
        x = x + attn + mlp
        expected |= {f"attn/layer_{i}": rms(attn), f"mlp/layer_{i}": rms(mlp), f"stream/layer_{i}": rms(x)}
    expected["logits"] = rms(model.norm(x) @ model.output_weight.mT)
    assert found.keys() == {f"coordinates/{name}" for name in expected}
    for name, size in expected.items():
        torch.testing.assert_close(float(found[f"coordinates/{name}"]), size, rtol=1e-5, atol=0)
