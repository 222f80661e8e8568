from dataclasses import replace

import pytest
import torch

from lmablate.diagnostics.grad_norms import GradNorms
from lmablate.model import Learned, TiedHead, Transformer, UntiedHead
from lmablate.training.optim import clip_grad_norm_, clip_scale
from tests.diagnostics.helpers import make_context, make_model, mean_loss


def measured(model: Transformer, max_norm: float) -> dict[str, float]:
    norms = {name: p.grad.norm() for name, p in model.named_parameters() if p.grad is not None}
    grad_norm = torch.stack([*norms.values()]).norm()
    scale = clip_scale(grad_norm, max_norm)
    context = replace(make_context(model), parameter_norms=norms, grad_norm=grad_norm, clip_scale=scale)
    return {name: float(value) for name, value in GradNorms().at_step(context).items()}


def with_gradients(**parts) -> Transformer:
    model = make_model(**parts)
    mean_loss(model, make_context(model)).backward()
    return model


def norm_of(parameters) -> float:
    return float(torch.cat([p.grad.flatten() for p in parameters]).norm())


@pytest.mark.parametrize("max_norm", [0.01, 1e6])
def test_the_clipped_norm_equals_the_norm_after_clipping(max_norm):
    model = with_gradients()
    metrics = measured(model, max_norm)
    before = float(clip_grad_norm_(model.parameters(), max_norm))
    assert metrics["grad_norm_clipped"] == pytest.approx(norm_of(model.parameters()), rel=1e-5)
    assert metrics["clipped"] == float(before > max_norm)


@pytest.mark.parametrize("tying", [TiedHead, UntiedHead])
def test_each_part_has_the_norm_of_its_concatenated_gradients(tying):
    model = with_gradients(tying=tying, pos=Learned)
    metrics = measured(model, 1.0)
    for i, block in enumerate(model.blocks):
        assert metrics[f"grad_norm/layer_{i}"] == pytest.approx(norm_of(block.parameters()), rel=1e-5)
    assert metrics["grad_norm/embed"] == pytest.approx(norm_of([model.embed.weight]), rel=1e-5)
    assert ("grad_norm/head" in metrics) == (tying is UntiedHead)
    if tying is UntiedHead:
        assert metrics["grad_norm/head"] == pytest.approx(norm_of([model.output_weight]), rel=1e-5)
