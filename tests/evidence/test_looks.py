"""Planned looks: the p-value is valid whenever one stops, and the plan cannot change."""

from pathlib import Path

import numpy as np
import pytest

from lmablate.errors import UserError
from lmablate.evidence import Sample
from lmablate.evidence.looks import LookLog, LookPlan
from tests.evidence.helpers import sample_with, within_binomial_bound

PLAN = LookPlan((4, 8, 16, 32))


@pytest.mark.parametrize("looks", [(), (1,), (0, 4), (4, 4), (8, 4), (-2, 4)])
def test_a_plan_that_is_none_is_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="looks="):
        LookPlan(looks)


@pytest.mark.parametrize(
    ("p_values", "p"), [([0.01], 0.04), ([0.5, 0.001], 0.004), ([0.001, 0.5], 0.004), ([0.9], 1.0), ([0.0], 0.0)]
)
def test_p_is_the_smallest_so_far_times_the_number_of_looks(p_values: list[float], p: float) -> None:
    assert PLAN.p(p_values) == pytest.approx(p)


def test_stopping_at_the_first_good_look_keeps_the_level_and_peeking_does_not() -> None:
    rng, families = np.random.default_rng(0), 2000
    peeked = planned = missed = 0
    for _ in range(families):
        values = rng.normal(size=PLAN.last)
        samples = [Sample.of(values[:n]) for n in PLAN.looks]
        p_values = [2 * min(sample.p_above(0), sample.p_below(0)) for sample in samples]
        peeked += min(p_values) <= 0.05
        planned += PLAN.p(p_values) <= 0.05
        intervals = [sample.interval(PLAN.level(0.95)) for sample in samples]
        missed += any(not low <= 0 <= high for low, high in intervals)
    assert within_binomial_bound(planned, families, 0.05)
    assert within_binomial_bound(missed, families, 0.05)
    assert planned > 0.02 * families, "a rule that never decides would pass as well"
    assert peeked > 0.1 * families


def test_interval_and_p_agree() -> None:
    sample = sample_with(1.0, 0.4, 4)
    low, _ = sample.interval(PLAN.level(0.95))
    assert 2 * sample.p_above(low) * len(PLAN.looks) == pytest.approx(0.05)


def test_looks_are_stored_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    log = LookLog(path, PLAN)
    log.record("a", 4, {"support": 0.01, "against": 0.9})
    log.record("a", 8, {"support": 0.02, "against": 0.9})
    log.record("a", 8, {"support": 0.02, "against": 0.9})
    again = LookLog(path, PLAN)
    assert again.p("a") == log.p("a") == {"support": pytest.approx(0.04), "against": 1.0}
    assert again.history("a") == log.history("a")
    assert len(path.read_text().splitlines()) == 3
    assert again.p("b") == {}


def test_a_line_cut_by_a_kill_is_as_if_never_written(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    LookLog(path, PLAN).record("a", 4, {"p": 0.5})
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[1]) + 1):
        path.write_bytes(whole[:-cut])
        log = LookLog(path, PLAN)
        assert log.history("a") == {}
        log.record("a", 4, {"p": 0.5})
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("n", "p", "words"),
    [
        (5, 0.5, "not the next look"),
        (16, 0.5, "not the next look"),
        (4, 0.4, "the runs have changed"),
        (64, 0.4, "not the next look"),
    ],
)
def test_a_look_that_was_not_planned_is_refused(tmp_path: Path, n: int, p: float, words: str) -> None:
    log = LookLog(tmp_path / "looks.jsonl", PLAN)
    log.record("a", 4, {"p": 0.5})
    with pytest.raises(UserError, match=words):
        log.record("a", n, {"p": p})


def test_another_plan_is_refused(tmp_path: Path) -> None:
    LookLog(tmp_path / "looks.jsonl", PLAN)
    with pytest.raises(UserError, match="planned at 4,8,16,32"):
        LookLog(tmp_path / "looks.jsonl", LookPlan((4, 8)))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    LookLog(path, PLAN)
    path.write_bytes(path.read_bytes() + b"{]\n")
    with pytest.raises(UserError, match="line 2 is not JSON"):
        LookLog(path, PLAN)
