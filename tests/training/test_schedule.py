"""The schedules of conf/schedule; tests/training/test_optim.py compares the cosine with torch's."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.config.build import build
from lmablate.config.schema import CONF
from lmablate.errors import UserError
from lmablate.training import WSD, Constant, Cosine, LinearDecay, cosine_schedule, learning_rate
from tests.tiny import configured

SCHEDULES = sorted(path.stem for path in Path(CONF, "schedule").glob("*.yaml"))


def rates(schedule: Cosine, lr: float = 1.0, min_lr: float = 0.0, warmup: int = 0, steps: int = 10) -> list[float]:
    return [
        learning_rate(schedule, step, lr=lr, min_lr=min_lr, warmup_steps=warmup, max_steps=steps)
        for step in range(steps)
    ]


TABLES = [
    (LinearDecay(), dict(steps=5), [1.0, 0.75, 0.5, 0.25, 0.0]),
    (LinearDecay(), dict(steps=7, warmup=2, min_lr=0.2), [0.5, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
    (WSD(), dict(steps=10), [1.0] * 8 + [0.5, 0.0]),
    (WSD(0.5), dict(steps=8, warmup=2, min_lr=0.2), [0.5, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
    (WSD(1.0), dict(steps=6, warmup=2), [0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
    (WSD(0.01), dict(steps=4), [1.0, 1.0, 1.0, 0.0]),
    (Constant(), dict(steps=5, warmup=2, min_lr=0.5), [0.5, 1.0, 1.0, 1.0, 1.0]),
    (Cosine(), dict(steps=5), [1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5, 0.0]),
]


@pytest.mark.parametrize(("schedule", "settings", "expected"), TABLES)
def test_the_rates_of_a_schedule(schedule, settings, expected):
    assert rates(schedule, **settings) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@given(steps=st.integers(1, 300), warmup=st.integers(0, 400), lr=st.floats(1e-6, 1.0), floor=st.floats(0, 1))
def test_a_schedule_rises_linearly_and_never_again(name, steps, warmup, lr, floor):
    schedule = _schedule(name)
    found = rates(schedule, lr, lr * floor, warmup, steps)
    top = min(warmup, steps)
    assert found[:top] == [lr * (step + 1) / warmup for step in range(top)]
    assert all(a >= b * (1 - 1e-9) for a, b in pairwise(found[top:]))
    assert all(lr * floor * (1 - 1e-9) <= rate <= lr * (1 + 1e-9) for rate in found[top:])
    if steps > warmup + 1 and name != "constant":
        assert found[-1] == pytest.approx(lr * floor)
    later = learning_rate(
        schedule, max(steps, warmup) + 50, lr=lr, min_lr=lr * floor, warmup_steps=warmup, max_steps=steps
    )
    assert later == pytest.approx(lr if name == "constant" else lr * floor)


_BUILT: dict[str, Cosine] = {}


def _schedule(name: str) -> Cosine:
    if name not in _BUILT:
        _BUILT[name] = build(configured(f"schedule={name}").schedule)
    return _BUILT[name]


def test_cosine_schedule_is_the_class():
    settings: dict[str, Any] = dict(lr=0.3, min_lr=0.01, warmup_steps=3, max_steps=20)
    for step in range(25):
        assert cosine_schedule(step, **settings) == learning_rate(Cosine(), step, **settings)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_of_the_steps_out_of_range_is_refused(share):
    with pytest.raises(UserError, match=f"schedule.decay_fraction={share} is not allowed"):
        WSD(share)
