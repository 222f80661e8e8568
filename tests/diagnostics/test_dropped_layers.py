import pytest
import torch

from lmablate.diagnostics.dropped_layers import DroppedLayers
from lmablate.model import PostNorm, PreNorm
from tests.diagnostics.helpers import evaluated, make_context, make_model, mean_loss


@torch.no_grad()
@pytest.mark.parametrize("norm", [PreNorm, PostNorm])
@pytest.mark.parametrize("step", [0, 10])
def test_the_rise_of_the_loss_equals_that_of_a_model_built_without_the_layer(norm, step):
    model = make_model(norm=norm)
    context = make_context(model, step)
    metrics, whole, blocks = evaluated(DroppedLayers(), context), mean_loss(model, context), model.blocks
    for i in range(len(blocks)):
        others = torch.nn.ModuleList([block for j, block in enumerate(blocks) if j != i])
        model.blocks = others  # pyright: ignore[reportAttributeAccessIssue]  (ModuleList is not generic)
        rise = float(mean_loss(model, context) - whole)
        assert abs(rise) > 1e-3, "the layer does not matter, so the test would prove nothing"
        assert metrics[f"residual/drop_loss/layer_{i}"] == pytest.approx(rise, abs=1e-4)
    assert len(metrics) == len(blocks)


def test_no_layer_is_dropped_between_step_0_and_the_end():
    assert not evaluated(DroppedLayers(), make_context(make_model(), step=5))
