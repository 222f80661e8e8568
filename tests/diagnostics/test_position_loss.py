from dataclasses import replace

import numpy as np
import pytest
import torch

from lmablate.diagnostics.position_loss import PositionLoss
from lmablate.model import ALiBi, Learned, NoPE, RoPE, Sinusoidal
from tests.diagnostics.helpers import CONTEXT, ROWS, evaluated, make_context, make_model, tokens

EXTENDING = (RoPE, Sinusoidal, ALiBi, NoPE)
LENGTHS = {"position_loss/1x", "position_loss/2x", "position_loss/4x"}
BINS = {f"position_loss/bin_{i}" for i in range(8)}


def windows(valid: np.ndarray, length: int, count: int) -> list[torch.Tensor]:
    """Return `count` evenly spaced windows of those that the text divides into, each with the token after it."""
    available = (len(valid) - 1) // length
    starts = [i * available // count * length for i in range(count)]
    return [torch.from_numpy(valid[s : s + length + 1].astype(np.int64)) for s in starts]


def loss_at(model, valid: np.ndarray, length: int, count: int) -> np.ndarray:
    """Return the mean loss at each position, computed one window and one token at a time."""
    losses = []
    for window in windows(valid, length, count):
        log_p = model(window[None, :-1])[0].log_softmax(-1)
        losses.append([-log_p[t, window[t + 1]].item() for t in range(length)])
    return np.mean(losses, axis=0)


@torch.no_grad()
@pytest.mark.parametrize("pos", EXTENDING)
def test_the_loss_by_position_equals_that_of_one_window_at_a_time(pos):
    model, valid = make_model(pos=pos), tokens(5000)
    metrics = evaluated(PositionLoss(batches=4), make_context(model, step=10, valid=valid))
    assert metrics.keys() == LENGTHS | BINS
    for n in (1, 2, 4):
        losses = loss_at(model, valid, n * CONTEXT, count=4 * ROWS // n)
        last_quarter = losses[-n * CONTEXT // 4 :].mean()
        assert metrics[f"position_loss/{n}x"] == pytest.approx(last_quarter, abs=1e-4)
    inside = loss_at(model, valid, CONTEXT, count=4 * ROWS)
    for i, part in enumerate(inside.reshape(8, -1)):
        assert metrics[f"position_loss/bin_{i}"] == pytest.approx(part.mean(), abs=1e-4)


def test_a_scheme_that_cannot_extend_is_measured_in_the_training_context_alone():
    metrics = evaluated(PositionLoss(), make_context(make_model(pos=Learned), step=10))
    assert metrics.keys() == {"position_loss/1x"} | BINS


def test_a_text_too_short_for_four_contexts_is_measured_at_the_lengths_it_reaches():
    context = replace(make_context(make_model(), step=10), valid=tokens(3 * CONTEXT))
    assert evaluated(PositionLoss(), context).keys() == {"position_loss/1x", "position_loss/2x"} | BINS


def test_the_loss_by_position_is_measured_at_the_end_alone():
    assert not evaluated(PositionLoss(), make_context(make_model(), step=9))
