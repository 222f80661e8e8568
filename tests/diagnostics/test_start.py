import math

import pytest
import torch

from lmablate.diagnostics.start import Start
from lmablate.model import CS336, GPT2, Learned, NoPE, RoPE, Sinusoidal
from tests.diagnostics.helpers import VOCAB, evaluated, make_context, make_model, mean_loss


@torch.no_grad()
@pytest.mark.parametrize("init", [CS336(), GPT2()])
def test_loss_and_logit_std_equal_those_of_all_logits_at_once(init):
    context = make_context(make_model(init=init))
    metrics, loss = evaluated(Start(), context), float(mean_loss(context.model, context))
    spreads = [token.std().item() for row in context.model(context.tokens) for token in row]
    assert metrics["init/loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["init/loss_over_uniform"] == pytest.approx(loss - math.log(VOCAB), abs=1e-4)
    rms = math.sqrt(sum(s * s for s in spreads) / len(spreads))
    assert metrics["init/logit_std"] == pytest.approx(rms, rel=1e-5)


def root_mean_square(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


def test_a_tied_model_with_unit_embeddings_does_not_start_uniform():
    wide, narrow = (evaluated(Start(), make_context(make_model(init=init))) for init in (CS336(), GPT2()))
    assert wide["init/loss_over_uniform"] > 1 > 0.1 > abs(narrow["init/loss_over_uniform"])


def test_the_position_ratio_compares_learned_positions_with_token_embeddings():
    model = make_model(pos=Learned)
    context = make_context(model)
    assert isinstance(model.pos, Learned)
    expected = root_mean_square(model.pos.weight) / root_mean_square(model.embed(context.tokens))
    assert evaluated(Start(), context)["init/position_ratio"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("pos", "adds"), [(Sinusoidal, True), (RoPE, False), (NoPE, False)])
def test_the_position_ratio_exists_only_if_a_scheme_adds_to_the_embeddings(pos, adds):
    assert ("init/position_ratio" in evaluated(Start(), make_context(make_model(pos=pos)))) == adds


def test_loss_and_scales_of_the_start_are_measured_at_step_0_alone():
    assert not evaluated(Start(), make_context(make_model(), step=1))
