"""Every predicate comes to the verdict that its effect deserves, and says so if it cannot be measured."""

import numpy as np
import pytest

from lmablate.errors import UserError
from lmablate.evidence import PREDICATES, Kind, SkewedSample, Verdict, judge_claims
from tests.evidence.helpers import Runs, claim_of, run_table, verdict_on
from tests.evidence.predicate_scenes import (
    DIFFERENCES,
    EQUALITIES,
    MARGIN,
    Scene,
    effects,
    lower,
    lower_at_best_lr,
    predicate,
)


def judge(scene: Scene, values: list[float]) -> Verdict:
    """The verdict on a scene, whose numbers must be those of its effects."""
    runs = Runs()
    verdict = verdict_on(scene(runs, values), runs)
    assert verdict.effect == pytest.approx(np.mean(values), abs=1e-3 * MARGIN)
    assert verdict.n == len(values)
    (deciding,) = [c for c in verdict.contrasts if c.sample.mean == verdict.effect]
    assert deciding.sample.values == pytest.approx(values, abs=2e-3 * MARGIN)
    assert (verdict.low, verdict.high) == deciding.interval
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
def test_a_claimed_difference_gets_the_verdict_that_its_effects_deserve(scene, mean, sd, n, kind):
    verdict = judge(scene, effects(mean, sd, n))
    several = kind == Kind.EQUIVALENT and len(verdict.contrasts) > 1
    assert verdict.kind == (Kind.PART_NEGLIGIBLE if several else kind)


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
def test_a_claimed_equality_gets_the_verdict_that_its_effects_deserve(scene, mean, sd, n, kind):
    assert judge(scene, effects(mean, sd, n)).kind == kind


@pytest.mark.parametrize("scene", DIFFERENCES + EQUALITIES)
def test_one_seed_is_told_that_it_lacks_a_second(scene):
    runs = Runs()
    verdict = verdict_on(scene(runs, [0.05]), runs)
    assert verdict.kind == Kind.UNDERPOWERED
    assert verdict.seeds_needed is None
    assert "two seeds or more would show the spread" in verdict.sentence


def test_a_best_rate_on_the_edge_of_the_grid_is_reported():
    runs = Runs()
    for seed in range(3):
        for arm, best in {"a": 1e-3, "b": 1e-4}.items():
            for rate in (1e-5, 1e-4, 1e-3):
                loss = 3 + abs(np.log10(rate / best)) + 0.01 * seed * (arm == "a")
                runs.add("e", seed, {"arm": arm, "optim.lr": rate})("val/loss", [loss], [9])
    verdict = verdict_on(predicate("lower_at_best_lr", better={"arm": "a"}, worse={"arm": "b"}), runs)
    assert "The best optim.lr of arm=a lies on the edge of its grid." in verdict.sentence
    assert "arm=b lies on the edge" not in verdict.sentence


def rates_of_two_arms(pilot: int) -> Runs:
    """Arm a is best at 1e-3 by the `pilot` first seeds, and at 1e-4 by the ten others; b is the same at every rate."""
    runs = Runs()
    for seed in range(pilot + 10):
        for arm in "ab":
            for rate in (1e-5, 1e-4, 1e-3, 1e-2):
                best = 1e-3 if seed < pilot else 1e-4
                loss = 3 + 0.01 * seed + (0.5 - 0.1 * (rate == best) if arm == "a" else 1.0)
                runs.add("e", seed, {"arm": arm, "optim.lr": rate})("val/loss", [loss + 0.001 * (seed % 3)], [9])
    return runs


@pytest.mark.parametrize(
    ("name", "arms"),
    [("lower_at_best_lr", ("better", "worse")), ("equal_at_best_rate", ("one", "other"))],
)
@pytest.mark.parametrize(("seeds", "rate", "choices"), [([], "0.0001", (4, 4)), ([0, 1], "0.001", (1, 1))])
def test_pilot_seeds_choose_the_rate_and_are_not_judged(name, arms, seeds, rate, choices):
    levels = {arms[0]: {"arm": "a"}, arms[1]: {"arm": "b"}}
    (contrast,) = predicate(name, **levels, pilot_seeds=seeds).measure(rates_of_two_arms(2).run_table)
    assert f"arm=a at optim.lr={rate}" in contrast.label
    assert contrast.sample.n == 12 - len(seeds)
    assert contrast.choices == choices


def test_pilot_seeds_without_a_run_are_named():
    missing = predicate("lower_at_best_lr", better={"arm": "a"}, worse={"arm": "b"}, pilot_seeds=[77])
    assert "of a pilot seed" in verdict_on(missing, rates_of_two_arms(0)).sentence


def test_readings_that_nothing_is_subtracted_from_are_judged_as_skewed_ones():
    skewed = {"greater_than", "less_than", "trend_with_depth"}
    for scene in DIFFERENCES + EQUALITIES:
        runs = Runs()
        contrasts = scene(runs, effects(5, 1, 4)).measure(runs.run_table)
        assert {isinstance(c.sample, SkewedSample) for c in contrasts} == {scene.__name__ in skewed}, scene


def test_a_slope_over_a_factor_without_numbers_is_refused():
    runs = Runs()
    lower(runs, effects(5, 1, 3))
    slope = predicate("slope_with", arm={}, factor="arm", slope=1.0)
    with pytest.raises(UserError, match="Claim C1: arm of e must have numbers as values, not a, b"):
        verdict_on(slope, runs)


def rates_up_to_the_end(arm_at_its_end: str) -> Runs:
    """Over three rates the loss of one arm only falls, and that of the other rises by 1 after the second."""
    runs = Runs()
    for seed in range(4):
        for arm in "ab":
            for rate, loss in {1e-4: 4.0, 1e-3: 3.0, 1e-2: 2.9 if arm == arm_at_its_end else 4.0 + 0.01 * seed}.items():
                runs.add("e", seed, {"arm": arm, "optim.lr": rate})("val/loss", [loss], [9])
    return runs


def test_an_arm_that_bears_the_end_of_its_grid_bears_at_least_that():
    higher = predicate("takes_higher_lr", better={"arm": "a"}, worse={"arm": "b"}, within=0.5)
    (contrast,) = higher.measure(rates_up_to_the_end("a").run_table)
    assert contrast.sample.values == pytest.approx([0.5] * 4, abs=0.02)
    assert contrast.note.startswith(
        " With 4 of 4 seeds arm=a is within 0.5 of its best up to the end of its grid: it may"
    )
    sentence = verdict_on(higher, rates_up_to_the_end("b")).sentence
    assert "arm=b is within 0.5 of its best up to optim.lr=0.01, the end of its grid in e" in sentence


def layers_over_time(changes: dict[str, float]) -> Runs:
    """Four layers that differ from the start, and of each arm change by its number from the first to the last."""
    runs = Runs()
    for seed in range(5):
        for arm, change in changes.items():
            log = runs.add("e", seed, {"arm": arm})
            for layer in range(4):
                start = 2.0 - 0.3 * layer + 0.01 * seed
                log(f"x/layer_{layer}", [start, start + (change + 1e-3 * seed) * layer / 3], [0, 400])
    return runs


@pytest.mark.parametrize(("than", "effect"), [({}, 0.5), ({"arm": "b"}, 0.3)])
def test_a_trend_since_the_start_is_not_that_of_the_initialisation(than, effect):
    options = {"metric": "x/layer_{i}", "arm": {"arm": "a"}, "direction": "falls", "since_start": True, "than": than}
    (contrast,) = predicate("trend_with_depth", **options).measure(layers_over_time({"a": -0.5, "b": -0.2}).run_table)
    assert contrast.sample.mean == pytest.approx(effect, abs=0.005)
    assert contrast.label.startswith("change since step 0 of x/layer_{i} falls")
    assert contrast.label.endswith("more than with arm=b") == bool(than)


def test_a_change_since_the_start_is_a_ratio_of_logarithms():
    runs = Runs()
    for seed in range(3):
        for arm, last in {"a": 8.0, "b": 2.0}.items():
            runs.add("e", seed, {"arm": arm})("grad_norm", [4.0, 1.0, last], [0, 1, 2])
    options = {"metric": "grad_norm", "transform": "log", "since_start": True, "arm": {"arm": "a"}, "constant": 1.0}
    (contrast,) = predicate("greater_than", **options).measure(runs.run_table)
    assert contrast.sample.values == pytest.approx([np.log(2)] * 3)


def test_a_vague_arm_is_refused_with_what_it_leaves_open():
    runs = Runs()
    lower_at_best_lr(runs, effects(5, 1, 3))
    vague = claim_of(predicate("lower", better={"arm": "a"}, worse={"arm": "b"}), id="C7")
    with pytest.raises(UserError, match=r"Claim C7: .* several runs of one seed .* differ in optim\.lr"):
        judge_claims([vague], runs.run_table)


def test_a_missing_arm_is_named():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 8))
    verdict = verdict_on(is_lower, run_table(runs.table.assign(arm="z"), runs.facts))
    assert verdict.sentence == "Not run: e has no finished run with arm=b."


def test_a_missing_metric_and_a_missing_factor_are_named():
    runs = Runs()
    lower(runs, effects(5, 1, 3))
    no_metric = claim_of(predicate("lower", metric="val/bpb", better={"arm": "a"}, worse={"arm": "b"}), id="C1")
    no_factor = claim_of(predicate("lower", better={"model/pos": "a"}, worse={"arm": "b"}), id="C2")
    verdicts = judge_claims([no_metric, no_factor], runs.run_table)
    assert "has no val/bpb" in verdicts[0].sentence
    assert "e has no factor model/pos" in verdicts[1].sentence


def test_seeds_that_only_one_arm_has_are_not_used():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    runs.add("e", 99, {"arm": "a"})("val/loss", [50.0], [400])
    assert verdict_on(is_lower, runs).n == 4
    apart = Runs()
    for other, arm in enumerate("ab"):
        apart.add("e", other, {"arm": arm})("val/loss", [3.0], [400])
    apart.add("e", 5, {"arm": "a"})("val/loss", [3.0], [400])
    verdict = verdict_on(is_lower, apart)
    assert verdict.kind == Kind.NOT_RUN
    assert "no finished seed in common" in verdict.sentence
