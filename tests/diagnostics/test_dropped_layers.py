import pytest
import torch

from lmablate.diagnostics.dropped_layers import DroppedLayers
from lmablate.model import PostNorm, PreNorm
from tests.diagnostics.helpers import evaluated, make_context, make_model, mean_loss


@torch.no_grad()
@pytest.mark.parametrize("norm", [PreNorm, PostNorm])
@pytest.mark.parametrize("step", [0, 10])
def test_it_agrees_with_a_model_built_without_the_layer(norm, step):
    model = make_model(norm=norm)
    moment = make_context(model, step)
    metrics, whole, blocks = evaluated(DroppedLayers(), moment), mean_loss(model, moment), model.blocks
    for i in range(len(blocks)):
        model.blocks = torch.nn.ModuleList([block for j, block in enumerate(blocks) if j != i])
        rise = float(mean_loss(model, moment) - whole)
        assert abs(rise) > 1e-3, "the layer would not matter, and the test say nothing"
        assert metrics[f"residual/drop_loss/layer_{i}"] == pytest.approx(rise, abs=1e-4)
    assert len(metrics) == len(blocks)


def test_it_is_silent_in_between():
    assert not evaluated(DroppedLayers(), make_context(make_model(), step=5))
