"""The rule: from the contrasts of all claims to their verdicts."""

from dataclasses import replace

import pandas as pd
import pytest

from lmablate.evidence import Contrast, Difference, Equality, Kind, decide, judge_claims
from lmablate.evidence.planning import verdict_probability
from tests.evidence.helpers import Runs, claim_of, sample_with, verdict_on
from tests.evidence.predicate_scenes import DIFFERENCES, EQUALITIES, effects, lower


@pytest.mark.parametrize("scene", DIFFERENCES + EQUALITIES)
def test_a_claim_without_its_experiment_is_not_run_and_leaves_the_family(scene):
    runs = Runs()
    measured = claim_of(lower(runs, effects(5, 1, 8)), id="C1")
    missing = claim_of(replace(scene(Runs(), effects(5, 1, 8)), experiment="never"), id="C2")
    alone = judge_claims([measured], runs.run_table)
    together = judge_claims([missing, measured], runs.run_table)
    assert together[0].kind == Kind.NOT_RUN
    assert together[0].sentence == "Not run: never has no finished run."
    assert together[1] == alone[0]


SAMPLES = {
    "holds": sample_with(5, 1, 10),
    "contrary": sample_with(-5, 1, 10),
    "nothing": sample_with(0, 0.3, 10),
    "open": sample_with(1, 5, 4),
    "small contrary": sample_with(-0.3, 0.1, 12),
    "smaller contrary": sample_with(-0.2, 0.1, 12),
    "surely nothing": sample_with(0, 0.01, 12),
}


def kind_of(*contrasts: Contrast) -> Kind:
    return decide([contrasts])[0].kind


def difference(name: str) -> Difference:
    return Difference("x", SAMPLES[name], 1.0, ())


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (["holds", "holds"], Kind.SUPPORTED),
        (["holds", "open"], Kind.UNDERPOWERED),
        (["holds", "contrary"], Kind.REFUTED),
        (["open", "contrary"], Kind.REFUTED),
        (["nothing", "contrary"], Kind.REFUTED),
        (["holds", "nothing"], Kind.PART_NEGLIGIBLE),
        (["open", "nothing"], Kind.PART_NEGLIGIBLE),
        (["small contrary"], Kind.EQUIVALENT),
        (["small contrary", "open"], Kind.PART_NEGLIGIBLE),
        (["small contrary", "smaller contrary"], Kind.PART_NEGLIGIBLE),
        (["small contrary", "surely nothing"], Kind.PART_NEGLIGIBLE),
        (["small contrary", "contrary"], Kind.REFUTED),
        (["small contrary", "surely nothing", "contrary"], Kind.REFUTED),
    ],
)
def test_a_conjunction_holds_if_all_parts_do_and_falls_with_any(parts, kind):
    assert kind_of(*map(difference, parts)) == kind
    assert kind_of(*map(difference, reversed(parts))) == kind


def test_a_conjunction_of_a_difference_and_an_equality():
    same = Equality("x", SAMPLES["nothing"], 1.0, ())
    assert kind_of(difference("holds"), same) == Kind.SUPPORTED
    assert kind_of(difference("holds"), Equality("x", SAMPLES["holds"], 1.0, ())) == Kind.REFUTED
    assert kind_of(difference("nothing"), same) == Kind.PART_NEGLIGIBLE


def test_without_a_margin_nothing_is_equivalent():
    assert kind_of(Difference("x", SAMPLES["nothing"], 0.0, ())) == Kind.UNDERPOWERED


def test_a_sure_but_small_effect_is_not_supported():
    assert kind_of(Difference("x", sample_with(0.8, 0.5, 10), 1.0, ())) == Kind.UNDERPOWERED
    assert kind_of(Difference("x", sample_with(0.8, 0.5, 10), 0.5, ())) == Kind.SUPPORTED


def test_a_result_that_would_do_alone_may_not_do_among_twenty():
    lucky = Difference("x", sample_with(1, 1, 8), 0.0, ())
    idle = Difference("x", sample_with(0, 1, 8), 0.0, ())
    assert decide([[lucky]])[0].kind == Kind.SUPPORTED
    among = decide([[lucky], *[[idle]] * 19])
    assert {decision.kind for decision in among} == {Kind.UNDERPOWERED}
    assert among[0].p_adjusted == pytest.approx(20 * among[0].p)


def test_no_claim_gives_no_verdict():
    runs = Runs()
    lower(runs, effects(5, 1, 3))
    assert judge_claims([], runs.run_table) == []


def test_the_seeds_that_an_open_verdict_asks_for_probably_decide():
    runs = Runs()
    verdict = verdict_on(lower(runs, effects(1.5, 1.0, 3)), runs)
    assert verdict.kind == Kind.UNDERPOWERED
    n = verdict.seeds_needed
    assert n is not None
    assert f"with about {n} seeds it would be decided with probability 0.8" in verdict.sentence
    (contrast,) = verdict.contrasts
    probability = verdict_probability([contrast], n, 0.05, draws=4000)
    assert probability is not None
    assert probability >= 0.75


def test_a_verdict_is_a_row_of_plain_values():
    runs = Runs()
    verdict = verdict_on(lower(runs, effects(5, 1, 4)), runs)
    row = verdict.row()
    assert row["kind"] == "SUPPORTED"
    assert row["runs"].split() == sorted(runs.facts["run"])
    assert row.pop("seeds_needed") is None, "it is decided"
    frame = pd.DataFrame([row])
    assert frame.notna().all(axis=None)
