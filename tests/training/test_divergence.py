"""The first step that is not finite is found, and the record ends with it. tests/faults lets real runs diverge."""

import math

import pytest
import torch

from lmablate.training.divergence import DivergenceCheck


def add(check: DivergenceCheck, step: int, loss: float = 1.0, norm: float = 2.0) -> None:
    check.add(step, torch.tensor(loss), torch.tensor([1.0, norm]))


def test_finite_steps_pass():
    check = DivergenceCheck()
    assert check.first_non_finite() is None
    for step in range(3):
        add(check, step)
    assert check.n_unchecked == 3
    assert check.first_non_finite() is None
    assert check.n_unchecked == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("quantity", ["loss", "norm"])
def test_the_first_of_several_is_named_and_later_steps_are_dropped(quantity, value):
    check = DivergenceCheck()
    add(check, 0)
    for step in (1, 2):
        add(check, step, **{quantity: value})
    assert check.first_non_finite() == 1
    assert [row["step"] for row in check.last_steps(["a", "b"])] == [0, 1]


def test_the_record_has_the_last_steps_over_several_checks():
    check = DivergenceCheck()
    for step in range(3 * DivergenceCheck.KEPT):
        add(check, step, loss=0.5 * step)
        if step % 3 == 0:
            check.first_non_finite()
    check.first_non_finite()
    rows = check.last_steps(["a", "b"])
    assert [row["step"] for row in rows] == list(range(2 * DivergenceCheck.KEPT, 3 * DivergenceCheck.KEPT))
    last = 3 * DivergenceCheck.KEPT - 1
    assert rows[-1] == {"step": last, "train/loss": 0.5 * last, "grad_norm": {"a": 1.0, "b": 2.0}}
