"""Curves keep each step once, and the last value of it."""

import math
from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.results.exports.recorded import flatten_config, make_curves


def test_missing_values_stay_missing_and_the_last_of_a_step_counts() -> None:
    rows = [(0, {"a": None}), (2, {"a": 1.0}), (1, {"a": math.nan}), (2, {"a": 3.0})]
    steps, values = make_curves(iter(rows), Path("x"))["a"]
    assert steps.tolist() == [1, 2]
    assert math.isnan(values[0])
    assert values[1] == 3.0


@pytest.mark.parametrize("step", [-1, 2**60])
def test_steps_out_of_range_are_refused(step: int) -> None:
    with pytest.raises(UserError, match="out of range"):
        make_curves(iter([(step, {"a": 1.0})]), Path("x"))


def test_a_config_becomes_values_as_one_would_type_them() -> None:
    config = {"optim": {"lr": 0.1, "betas": [0.9, 0.95]}, "train": {"compile": True}, "scale": None}
    expected = {"optim.lr": 0.1, "optim.betas": "[0.9, 0.95]", "train.compile": "true", "scale": "null"}
    assert flatten_config(config) == expected
