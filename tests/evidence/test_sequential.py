"""Claims at planned looks: how contrasts are corrected, and that no verdict is lost again."""

from dataclasses import replace

import numpy as np
import pytest

from lmablate.evidence import Contrast, Difference, Equality, Kind, decide, judge_claims
from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.evidence.predicates import Lower
from lmablate.evidence.sequential import ClaimState, LookJudge
from tests.evidence.helpers import Runs, claim_of, sample_with

PLAN = LookPlan((4, 8))
LOWER = Lower(experiment="e", metric="val/loss", margin=0.01, better={"arm": "a"}, worse={"arm": "b"})
KINDS = {"difference": Difference, "equality": Equality}


def contrast(kind: type[Contrast], mean: float, n: int) -> Contrast:
    return kind("a is b", sample_with(mean, 0.3, n), 0.5, ("r",))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_p_values_and_intervals_are_those_of_the_plan(kind: type[Contrast]) -> None:
    first, second = contrast(kind, 0.4, 4), contrast(kind, 0.1, 8)
    earlier = first.p_values, first.exact.p_values
    seen = replace(second, looks=2, earlier=earlier)
    found = seen.p_support, seen.p_against, seen.p_equivalent
    pairs = zip(first.p_values, second.p_values, strict=True)
    assert found == pytest.approx([PLAN.p(pair) for pair in pairs])
    exactly = zip(first.exact.p_values, second.exact.p_values, strict=True)
    assert seen.exact.p_support == pytest.approx(PLAN.p(next(exactly)))
    assert seen.interval == pytest.approx(second.sample.interval(PLAN.level(kind.level)))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_one_look_is_no_correction(kind: type[Contrast]) -> None:
    one = contrast(kind, 0.2, 5)
    assert (one.p_support, one.p_against, one.p_equivalent) == one.p_values


def test_claims_that_are_not_measured_count_in_a_fixed_family() -> None:
    decided = [contrast(Difference, 0.8, 4)]
    (alone,), (among,) = decide([decided]), decide([decided], absent=3)
    assert among.p_adjusted == pytest.approx(4 * alone.p_adjusted)


def table(difference: float, n: int) -> Runs:
    rng, runs = np.random.default_rng(1), Runs()
    for seed in range(n):
        noise = 0.01 * rng.normal(size=2)
        for arm, shift, own in (("a", 0.0, noise[0]), ("b", difference, noise[1])):
            runs.add("e", seed, {"arm": arm})("val/loss", [3 + shift + own])
    return runs


def claims(*ids: str) -> list:
    return [claim_of(LOWER, id=name) for name in ids]


def test_a_decided_claim_stays_decided_whatever_comes_later() -> None:
    judge = LookJudge(claims("C1"), LookLog(None, PLAN))
    assert judge.look(4, table(0.3, 4).run_table)[0].progress == ClaimState.DECIDED
    assert judge.open_claims == []
    (later,) = judge.look(8, table(-0.3, 8).run_table)
    assert (later.progress, later.look, later.verdict.kind, later.verdict.n) == ("decided", 4, Kind.SUPPORTED, 4)


def test_a_claim_without_its_metric_stops() -> None:
    absent = replace(LOWER, metric="nowhere")
    judge = LookJudge([claim_of(absent, id="C1")], LookLog(None, PLAN))
    (standing,) = judge.look(4, table(0.3, 4).run_table)
    assert (standing.progress, standing.verdict.kind, judge.open_claims) == ("not run", Kind.NOT_RUN, [])


def test_one_planned_look_gives_the_verdicts_of_the_report() -> None:
    family, runs = claims("C1", "C2"), table(0.012, 8).run_table
    found = [standing.verdict.row() for standing in LookJudge(family, LookLog(None, LookPlan((8,)))).look(8, runs)]
    assert repr(found) == repr([verdict.row() for verdict in judge_claims(family, runs)])
