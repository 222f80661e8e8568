import math

import pytest
import torch

from lmablate.diagnostics.dead_units import DeadUnits
from lmablate.model import GELU, ReLU, ReLU2, RMSNorm, SiLU, SwiGLU
from tests.diagnostics.helpers import evaluated, make_context, make_model

FLAT, SMOOTH = (ReLU, ReLU2), (GELU, SiLU, SwiGLU)


def brute_force(mlp, x, tolerance) -> float:
    """Return the fraction of dead units, counted unit by unit and token by token."""
    units = mlp.hidden(x).flatten(0, 1).T.tolist()
    rms = math.sqrt(sum(h * h for unit in units for h in unit) / sum(map(len, units)))
    return sum(all(abs(h) <= tolerance * rms for h in unit) for unit in units) / len(units)


@torch.no_grad()
@pytest.mark.parametrize("act", [*FLAT, *SMOOTH])
def test_the_fraction_of_dead_units_equals_a_count_unit_by_unit(act):
    model = make_model(act=act)
    for i, block in enumerate(model.blocks):
        block.mlp.up.weight[: 3 * (i + 1)] *= 1e-7  # tiny, and for ReLU still alive
        block.mlp.up.weight[-4:] = 0
    context = make_context(model)
    metrics, x = evaluated(DeadUnits(), context), model.embed(context.tokens)
    for i, block in enumerate(model.blocks):
        middle = x + block.attn(block.norm_1(x), model.pos)
        expected = brute_force(block.mlp, block.norm_2(middle), 0.0 if act in FLAT else 1e-3)
        assert metrics[f"dead_units/layer_{i}"] == pytest.approx(expected)
        assert expected >= (4 if act in FLAT else 4 + 3 * (i + 1)) / 24
        x = block(x, model.pos)


@torch.no_grad()
def test_a_smooth_unit_is_dead_if_all_its_inputs_are_far_below_zero():
    model = make_model(act=GELU)
    norm = model.blocks[0].norm_2
    assert isinstance(norm, RMSNorm)
    norm.weight.zero_()[0] = 1.0
    model.blocks[0].mlp.up.weight.zero_()[:, 0] = -1e4  # times a first feature of either sign
    metrics = evaluated(DeadUnits(), make_context(model))
    assert metrics["dead_units/layer_0"] == 0
    hidden = torch.nn.functional.gelu(torch.full((2, 3, 24), -9.0))
    hidden[..., 0] = 1.0
    assert DeadUnits().dead(model.blocks[0].mlp, hidden).sum() == 23
