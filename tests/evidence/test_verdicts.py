"""Every verdict comes out where it is true, for every predicate, and false ones no oftener than promised."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmablate.errors import UserError
from lmablate.evidence import (
    PREDICATES,
    Claim,
    Difference,
    Equality,
    Kind,
    RunTable,
    Sample,
    check_facts,
    decide,
    evaluate,
)
from tests.evidence.scenes import DIFFERENCES, EQUALITIES, MARGIN, curve, lower, lower_at_best_lr, predicate
from tests.evidence.simulated import Runs


def claim(*all_of, id="C1"):
    return Claim(id, "text", "reported", "question", tuple(all_of))


def effects(mean: float, sd: float, n: int) -> list[float]:
    """n effects with exactly this mean and standard deviation, in units of the margin."""
    noise = np.random.default_rng(n).normal(size=n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return list(MARGIN * (mean + sd * noise))


def judge(scene, values):
    runs = Runs()
    verdict = evaluate([claim(scene(runs, values))], RunTable.of(runs.table, runs.facts))[0]
    assert verdict.effect == pytest.approx(np.mean(values), abs=1e-3 * MARGIN)
    assert verdict.n == len(values)
    assert (verdict.low, verdict.high) == pytest.approx(Sample.of(values).interval(verdict.level), abs=1e-3 * MARGIN)
    assert set(verdict.runs) <= set(runs.facts["run"])
    return verdict


def test_every_predicate_has_a_scene():
    assert {scene.__name__ for scene in DIFFERENCES + EQUALITIES} == set(PREDICATES)


@pytest.mark.parametrize("scene", DIFFERENCES)
@pytest.mark.parametrize(
    ("mean", "sd", "n", "kind"),
    [
        (5, 1, 8, Kind.SUPPORTED),
        (-5, 1, 8, Kind.REFUTED),
        (0.1, 0.2, 8, Kind.EQUIVALENT),
        (-0.3, 0.1, 8, Kind.EQUIVALENT),
        (1, 5, 3, Kind.UNDERPOWERED),
        (0.8, 0.4, 8, Kind.UNDERPOWERED),
    ],
)
def test_a_claimed_difference(scene, mean, sd, n, kind):
    assert judge(scene, effects(mean, sd, n)).kind == kind


@pytest.mark.parametrize("scene", EQUALITIES)
@pytest.mark.parametrize(
    ("mean", "sd", "n", "kind"),
    [
        (0.1, 0.2, 8, Kind.SUPPORTED),
        (-0.3, 0.1, 8, Kind.SUPPORTED),
        (5, 1, 8, Kind.REFUTED),
        (-5, 1, 8, Kind.REFUTED),
        (1, 5, 3, Kind.UNDERPOWERED),
        (1.2, 0.6, 8, Kind.UNDERPOWERED),
    ],
)
def test_a_claimed_equality(scene, mean, sd, n, kind):
    assert judge(scene, effects(mean, sd, n)).kind == kind


@pytest.mark.parametrize("scene", DIFFERENCES + EQUALITIES)
def test_a_claim_without_its_experiment_is_not_run_and_leaves_the_family(scene):
    runs = Runs()
    measured = claim(lower(runs, effects(5, 1, 8)), id="C1")
    missing = claim(replace(scene(Runs(), effects(5, 1, 8)), experiment="never"), id="C2")
    alone = evaluate([measured], RunTable.of(runs.table, runs.facts))
    together = evaluate([missing, measured], RunTable.of(runs.table, runs.facts))
    assert together[0].kind == Kind.NOT_RUN
    assert together[0].sentence == "Not run: never has no finished run."
    assert together[1] == alone[0]


def test_a_missing_arm_is_named():
    runs = Runs()
    is_lower = claim(lower(runs, effects(5, 1, 8)))
    verdict = evaluate([is_lower], RunTable.of(runs.table.assign(arm="z"), runs.facts))[0]
    assert verdict.sentence == "Not run: e has no finished run with arm=b."


def test_a_missing_metric_and_a_missing_factor_are_named():
    runs = Runs()
    lower(runs, effects(5, 1, 3))
    no_metric = claim(predicate("lower", metric="val/bpb", better={"arm": "a"}, worse={"arm": "b"}), id="C1")
    no_factor = claim(predicate("lower", better={"model/pos": "a"}, worse={"arm": "b"}), id="C2")
    verdicts = evaluate([no_metric, no_factor], RunTable.of(runs.table, runs.facts))
    assert "has no val/bpb" in verdicts[0].sentence
    assert "e has no factor model/pos" in verdicts[1].sentence


def test_seeds_that_only_one_arm_has_are_not_used():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    runs.add("e", 99, {"arm": "a"})("val/loss", [50.0], [400])
    assert evaluate([claim(is_lower)], RunTable.of(runs.table, runs.facts))[0].n == 4
    for other, arm in enumerate("ab"):
        apart = Runs()
        apart.add("e", other, {"arm": arm})("val/loss", [3.0], [400])
    apart.add("e", 5, {"arm": "a"})("val/loss", [3.0], [400])
    verdict = evaluate([claim(is_lower)], RunTable.of(apart.table, apart.facts))[0]
    assert verdict.kind == Kind.NOT_RUN
    assert "no finished seed in common" in verdict.sentence


SAMPLES = {
    "holds": Sample(5, 1, 10),
    "contrary": Sample(-5, 1, 10),
    "nothing": Sample(0, 0.3, 10),
    "open": Sample(1, 5, 4),
}


def kind_of(*contrasts):
    return decide([contrasts])[0].kind


def difference(name):
    return Difference("x", SAMPLES[name], 1.0, ())


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (["holds", "holds"], Kind.SUPPORTED),
        (["holds", "open"], Kind.UNDERPOWERED),
        (["holds", "contrary"], Kind.REFUTED),
        (["open", "contrary"], Kind.REFUTED),
        (["nothing", "contrary"], Kind.REFUTED),
        (["holds", "nothing"], Kind.EQUIVALENT),
        (["open", "nothing"], Kind.EQUIVALENT),
    ],
)
def test_a_conjunction_holds_if_all_parts_do_and_falls_with_any(parts, kind):
    assert kind_of(*map(difference, parts)) == kind
    assert kind_of(*map(difference, reversed(parts))) == kind


def test_a_conjunction_of_a_difference_and_an_equality():
    same = Equality("x", SAMPLES["nothing"], 1.0, ())
    assert kind_of(difference("holds"), same) == Kind.SUPPORTED
    assert kind_of(difference("holds"), Equality("x", SAMPLES["holds"], 1.0, ())) == Kind.REFUTED
    assert kind_of(difference("nothing"), same) == Kind.EQUIVALENT


def test_without_a_margin_nothing_is_equivalent():
    assert kind_of(Difference("x", SAMPLES["nothing"], 0.0, ())) == Kind.UNDERPOWERED


def test_a_sure_but_small_effect_is_not_supported():
    assert kind_of(Difference("x", Sample(0.8, 0.5, 10), 1.0, ())) == Kind.UNDERPOWERED
    assert kind_of(Difference("x", Sample(0.8, 0.5, 10), 0.5, ())) == Kind.SUPPORTED


def test_a_result_that_would_do_alone_may_not_do_among_twenty():
    lucky = Difference("x", Sample(1, 1, 8), 0.0, ())
    idle = Difference("x", Sample(0, 1, 8), 0.0, ())
    assert decide([[lucky]])[0].kind == Kind.SUPPORTED
    among = decide([[lucky], *[[idle]] * 19])
    assert {decision.kind for decision in among} == {Kind.UNDERPOWERED}
    assert among[0].p_adjusted == pytest.approx(20 * among[0].p)


def test_no_claim_gives_no_verdict():
    runs = Runs()
    lower(runs, effects(5, 1, 3))
    assert evaluate([], RunTable.of(runs.table, runs.facts)) == []


def within_binomial_bound(errors: int, trials: int, rate: float) -> bool:
    """False only where so many errors would be a one-in-a-thousand accident at the nominal rate."""
    return stats.binom.sf(errors - 1, trials, rate) > 0.001


def families(rng, count, truth, sd=1.0, claims=12, seeds=4):
    """Families of claims about one truth. Each arm is compared with one control, so that claims depend."""
    for _ in range(count):
        control = rng.normal(0, sd / np.sqrt(2), seeds)
        yield [Sample.of(truth + rng.normal(0, sd / np.sqrt(2), seeds) - control) for _ in range(claims)]


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_families_of_arms_that_do_not_differ_yield_false_verdicts_at_most_at_alpha(margin):
    wrong = decided = 0
    for family in families(np.random.default_rng(3), 2500, truth=0):
        decisions = decide([[Difference("x", sample, margin, ())] for sample in family])
        false = [d.kind in (Kind.SUPPORTED, Kind.REFUTED) for d in decisions]
        wrong += any(false)
        decided += sum(false)
    assert within_binomial_bound(wrong, 2500, 0.05)
    assert wrong > 25, "a rule that never decides would pass as well"


def test_conjunctions_of_arms_that_do_not_differ_keep_alpha_too():
    wrong = 0
    for family in families(np.random.default_rng(4), 2500, truth=0):
        contrasts = [Difference("x", sample, 0.0, ()) for sample in family]
        decisions = decide([contrasts[i : i + 3] for i in range(0, 12, 3)])
        wrong += any(d.kind in (Kind.SUPPORTED, Kind.REFUTED) for d in decisions)
    assert within_binomial_bound(wrong, 2500, 0.05)
    assert wrong > 10


@pytest.mark.parametrize("truth", [-1.0, 1.0])
def test_differences_as_large_as_the_margin_are_rarely_declared_negligible(truth):
    wrong = {"equivalent": 0, "equal": 0}
    for family in families(np.random.default_rng(5), 2500, truth=truth, sd=0.5):
        differ = decide([[Difference("x", sample, 1.0, ())] for sample in family])
        same = decide([[Equality("x", sample, 1.0, ())] for sample in family])
        wrong["equivalent"] += any(d.kind == Kind.EQUIVALENT for d in differ)
        wrong["equal"] += any(d.kind == Kind.SUPPORTED for d in same)
    for errors in wrong.values():
        assert within_binomial_bound(errors, 2500, 0.05)
        assert errors > 10


@pytest.mark.parametrize("truth", [-1.0, 1.0])
def test_equalities_are_rarely_refuted_at_the_margin(truth):
    wrong = sum(
        any(d.kind == Kind.REFUTED for d in decide([[Equality("x", sample, 1.0, ())] for sample in family]))
        for family in families(np.random.default_rng(6), 2500, truth=truth)
    )
    assert within_binomial_bound(wrong, 2500, 0.025)


def test_choosing_each_arms_best_learning_rate_keeps_alpha():
    """Two thousand A/A sweeps in one table, each judged as a family of its own."""
    rng = np.random.default_rng(7)
    experiments, seeds, rates = 2000, 4, (1e-4, 1e-3, 1e-2)
    index = pd.MultiIndex.from_product(
        [range(experiments), range(seeds), ["a", "b"], rates], names=["experiment", "seed", "arm", "optim.lr"]
    )
    table = index.to_frame(index=False)
    shared = rng.normal(0, 1, (experiments, seeds, 1, 1))
    table["value"] = (3 + shared + rng.normal(0, 1, (experiments, seeds, 2, 3))).ravel()
    table["experiment"] = "e" + table["experiment"].astype(str)
    table = table.assign(run=[f"r{i}" for i in range(len(table))], step=1, metric="val/loss")
    facts = table[["run", "experiment"]].assign(data_fingerprint="d", code_version="c", tokens=1, state="done")
    sweeps = [
        claim(
            predicate("lower_at_best_lr", experiment=f"e{i}", better={"arm": "a"}, worse={"arm": "b"}, margin=0.0),
            id=f"C{i}",
        )
        for i in range(experiments)
    ]
    runs = RunTable.of(table, facts)
    wrong = sum(decide([sweep.measure(runs)])[0].kind != Kind.UNDERPOWERED for sweep in sweeps)
    assert within_binomial_bound(wrong, experiments, 0.05)
    assert wrong > 0.02 * experiments


def test_the_seeds_that_an_open_verdict_asks_for_decide():
    runs = Runs()
    verdict = evaluate([claim(lower(runs, effects(1.5, 1.0, 3)))], RunTable.of(runs.table, runs.facts))[0]
    assert verdict.kind == Kind.UNDERPOWERED
    n = verdict.seeds_needed
    assert f"about {n} seeds would decide" in verdict.sentence
    samples = np.random.default_rng(8).normal(1.5 * MARGIN, MARGIN, (3000, n))
    decided = [Sample.of(x).p_above(0) <= 0.025 for x in samples]
    assert np.mean(decided) >= 0.8 - 3 * np.sqrt(0.16 / 3000)


@pytest.mark.parametrize("scene", DIFFERENCES + EQUALITIES)
def test_one_seed_is_told_that_it_lacks_a_second(scene):
    runs = Runs()
    verdict = evaluate([claim(scene(runs, [0.05]))], RunTable.of(runs.table, runs.facts))[0]
    assert verdict.kind == Kind.UNDERPOWERED
    assert verdict.seeds_needed is None
    assert "two seeds or more would show the spread" in verdict.sentence


def test_the_order_of_rows_and_the_spelling_of_factors_do_not_matter():
    runs = Runs()
    sweep = claim(lower_at_best_lr(runs, effects(5, 1, 4)))
    table = runs.table.sample(frac=1, random_state=0)
    table["optim.lr"] = table["optim.lr"].map("{:.0e}".format)
    first, second = (evaluate([sweep], RunTable.of(t, runs.facts))[0] for t in (runs.table, table))
    assert first == second
    flags = Runs()
    for seed in range(3):
        for tied in (True, False):
            flags.add("e", seed, {"model/tying": tied})("val/loss", [3 + tied + seed / 10 + tied * seed / 50], [9])
    untied_is_lower = predicate("lower", better={"model/tying": "false"}, worse={"model/tying": True})
    assert evaluate([claim(untied_is_lower)], RunTable.of(flags.table, flags.facts))[0].effect == pytest.approx(1.02)


def test_a_best_rate_on_the_edge_of_the_grid_is_reported():
    runs = Runs()
    for seed in range(3):
        for arm, best in {"a": 1e-3, "b": 1e-4}.items():
            for rate in (1e-5, 1e-4, 1e-3):
                loss = 3 + abs(np.log10(rate / best)) + 0.01 * seed * (arm == "a")
                runs.add("e", seed, {"arm": arm, "optim.lr": rate})("val/loss", [loss], [9])
    verdict = evaluate(
        [claim(predicate("lower_at_best_lr", better={"arm": "a"}, worse={"arm": "b"}))],
        RunTable.of(runs.table, runs.facts),
    )[0]
    assert "The best optim.lr of arm=a lies on the edge of its grid." in verdict.sentence
    assert "arm=b lies on the edge" not in verdict.sentence


def test_a_diverged_run_counts_as_one_that_learnt_nothing():
    runs = Runs()
    for seed in range(3):
        for arm in "ab":
            log = runs.add("e", seed, {"arm": arm})
            log("val/loss", [9.2, np.nan if arm == "b" and seed == 1 else 3.0 + seed / 100], [0, 400])
            log("init/loss", [9.2], [0])
    is_lower = claim(predicate("lower", better={"arm": "a"}, worse={"arm": "b"}))
    verdict = evaluate([is_lower], RunTable.of(runs.table, runs.facts))[0]
    assert verdict.n == 3
    assert verdict.effect == pytest.approx((9.2 - 3.01) / 3)


def test_runs_that_are_not_done_are_left_out_and_said_to_be():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    runs.add("e", 9, {"arm": "b"}, state="failed", tokens=3, code_version="old")("val/loss", [99.0], [400])
    runs.add("e", 9, {"arm": "a"}, state="running", tokens=2)("val/loss", [9.0], [400])
    verdict = evaluate([claim(is_lower)], RunTable.of(runs.table, runs.facts))[0]
    assert verdict.n == 4
    assert verdict.sentence.endswith("are left out: 1 failed, 1 running.")


def test_a_step_that_was_logged_twice_counts_as_logged_last():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    stale = runs.table.assign(value=77.0)
    table = pd.concat([stale, runs.table], ignore_index=True)
    assert (
        evaluate([claim(is_lower)], RunTable.of(table, runs.facts))[0].effect
        == evaluate([claim(is_lower)], RunTable.of(runs.table, runs.facts))[0].effect
    )


def test_a_vague_arm_is_refused_with_what_it_leaves_open():
    runs = Runs()
    lower_at_best_lr(runs, effects(5, 1, 3))
    vague = claim(predicate("lower", better={"arm": "a"}, worse={"arm": "b"}), id="C7")
    with pytest.raises(UserError, match=r"Claim C7: .* several runs of one seed .* differ in optim\.lr"):
        evaluate([vague], RunTable.of(runs.table, runs.facts))


def test_a_slope_over_a_factor_without_numbers_is_refused():
    runs = Runs()
    lower(runs, effects(5, 1, 3))
    slope = predicate("slope_with", arm={}, factor="arm", slope=1.0)
    with pytest.raises(UserError, match="Claim C1: arm of e must have numbers as values, not a, b"):
        evaluate([claim(slope)], RunTable.of(runs.table, runs.facts))


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ({"data_fingerprint": "d2"}, "mixes data fingerprints.*d1 .run r0000., d2 .run r0008."),
        ({"code_version": "c2"}, "mixes code versions.*c1.*c2"),
        ({"tokens": 1001}, "Experiment e mixes unequal budgets.*1000.*1001"),
    ],
)
def test_tables_that_mix_what_cannot_be_compared_are_refused(fact, message):
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    runs.add("e", 9, {"arm": "b"}, **fact)("val/loss", curve(9)[-1:], [400])
    with pytest.raises(UserError, match=message):
        evaluate([claim(is_lower)], RunTable.of(runs.table, runs.facts))


def test_experiments_may_have_budgets_of_their_own():
    runs = Runs()
    runs.add("e", 0, {"arm": "a"}, tokens=1)
    runs.add("f", 0, {"arm": "a"}, tokens=2)
    check_facts(runs.facts)


def test_incomplete_tables_are_refused():
    runs = Runs()
    is_lower = claim(lower(runs, effects(5, 1, 4)))
    with pytest.raises(UserError, match="facts has no column tokens"):
        evaluate([is_lower], RunTable.of(runs.table, runs.facts.drop(columns="tokens")))
    with pytest.raises(UserError, match="measurements has no column seed"):
        evaluate([is_lower], RunTable.of(runs.table.drop(columns="seed"), runs.facts))
    with pytest.raises(UserError, match="no row for run r0000"):
        evaluate([is_lower], RunTable.of(runs.table, runs.facts.iloc[1:]))


def test_a_verdict_is_a_row_of_plain_values():
    runs = Runs()
    verdict = evaluate([claim(lower(runs, effects(5, 1, 4)))], RunTable.of(runs.table, runs.facts))[0]
    row = verdict.row()
    assert row["kind"] == "SUPPORTED"
    assert row["runs"].split() == sorted(runs.facts["run"])
    frame = pd.DataFrame([row])
    assert frame.notna().all(axis=None)
