import math

import pytest
import torch

from lmablate.diagnostics.start import Start
from lmablate.model import CS336, GPT2, Learned, NoPE, RoPE, Sinusoidal
from tests.diagnostics.helpers import VOCAB, evaluated, make_context, make_model, mean_loss


@torch.no_grad()
@pytest.mark.parametrize("init", [CS336(), GPT2()])
def test_loss_and_spread_agree_with_those_of_all_logits_at_once(init):
    moment = make_context(make_model(init=init))
    metrics, loss = evaluated(Start(), moment), float(mean_loss(moment.model, moment))
    spreads = [token.std().item() for row in moment.model(moment.tokens) for token in row]
    assert metrics["init/loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["init/loss_over_uniform"] == pytest.approx(loss - math.log(VOCAB), abs=1e-4)
    rms = math.sqrt(sum(s * s for s in spreads) / len(spreads))
    assert metrics["init/logit_std"] == pytest.approx(rms, rel=1e-5)


def test_a_tied_model_with_unit_embeddings_does_not_start_uniform():
    wide, narrow = (evaluated(Start(), make_context(make_model(init=init))) for init in (CS336(), GPT2()))
    assert wide["init/loss_over_uniform"] > 1 > 0.1 > abs(narrow["init/loss_over_uniform"])


def test_learned_positions_are_compared_with_the_tokens_own_embeddings():
    model = make_model(pos=Learned)
    moment = make_context(model)
    rms = lambda x: x.square().mean().sqrt().item()  # noqa: E731
    expected = rms(model.pos.weight) / rms(model.embed(moment.tokens))
    assert evaluated(Start(), moment)["init/position_ratio"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("pos", "adds"), [(Sinusoidal, True), (RoPE, False), (NoPE, False)])
def test_the_ratio_is_there_where_a_scheme_adds_something(pos, adds):
    assert ("init/position_ratio" in evaluated(Start(), make_context(make_model(pos=pos)))) == adds


def test_it_speaks_at_step_0_alone():
    assert not evaluated(Start(), make_context(make_model(), step=1))
