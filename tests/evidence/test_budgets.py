"""Speed-ups and ladders: exact on exact curves, honest where a curve ends, and their intervals cover the truth."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmablate.errors import UserError
from lmablate.evidence import Kind, RankedSample, Sample
from lmablate.evidence.budgets import Ladder, log_speed_up
from tests.evidence.helpers import Runs, verdict_on
from tests.evidence.predicate_scenes import predicate

FLOPS = [1e12, 2e12, 4e12, 8e12]
CURVES = st.lists(st.floats(1, 9), min_size=4, max_size=4)


def power_law(flops: Any, factor: float = 1.0) -> NDArray[np.float64]:
    """The loss of an arm that needs `factor` times fewer FLOPs than another to any loss."""
    return 2.0 + 3.0 * (np.asarray(flops) * factor / 1e12) ** -0.25


@pytest.mark.parametrize(
    ("fast", "slow", "expected"),
    [
        ([4, 3, 2, 1], [4, 3, 2, 1], 0.0),
        ([3, 2, 1, 0.5], [4, 3, 2, 1], math.log(2)),
        ([4, 3, 2, 1], [3, 2, 1, 0.5], -math.log(2)),
        ([3, 2, 1.5, 1], [9, 9, 9, 2], math.log(4)),
        ([3.5, 2.5, 1.5, 0.5], [9, 9, 9, 2], math.log(8) - 1.5 * math.log(2)),  # halfway, in log FLOPs
        ([1, 1, 1, 1], [4, 3, 2, 1], math.inf),
        ([4, 3, 2, 1], [1, 1, 1, 0.9], -math.inf),
        ([4, 2, 3, 1], [9, 9, 9, 2], math.log(4)),  # where the loss is first reached
    ],
)
def test_a_speed_up_is_the_ratio_of_budgets_at_the_loss_of_the_worse_arm(fast, slow, expected):
    assert log_speed_up((FLOPS, fast), (FLOPS, slow)) == pytest.approx(expected)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.5, 3.0])
def test_the_speed_up_along_a_power_law_is_right_within_half_a_percent(factor: float):
    found = log_speed_up((FLOPS, power_law(FLOPS, factor)), (FLOPS, power_law(FLOPS)))
    assert math.exp(found) == pytest.approx(factor, rel=0.005)


@given(CURVES, CURVES, st.floats(0.2, 5))
def test_exchanging_the_arms_changes_the_sign_and_dearer_steps_slow_an_arm_down(one, other, cost):
    assume(one[-1] != other[-1])
    first = log_speed_up((FLOPS, one), (FLOPS, other))
    assert log_speed_up((FLOPS, other), (FLOPS, one)) == -first
    dearer = [cost * flops for flops in FLOPS]
    assert log_speed_up((dearer, one), (FLOPS, other)) == pytest.approx(first - math.log(cost))


def test_curves_that_are_none_are_refused():
    for flops, losses in ([1e12], [3.0]), ([2e12, 1e12], [3.0, 2.0]), ([1e12, 2e12], [3.0]):
        with pytest.raises(UserError, match="two budgets or more, ascending"):
            log_speed_up((flops, losses), (FLOPS, [4, 3, 2, 1]))


def covered(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "n"), [(1.0, 8), (1.3, 4), (1.3, 8), (1.3, 16), (0.8, 8), (2.0, 8)])
def test_the_interval_of_a_speed_up_covers_the_truth(factor: float, n: int):
    """Noise as in our runs: a part that a seed's runs share, and a part of each run."""
    rng, intervals = np.random.default_rng(n), []
    for _ in range(1500):
        shared = rng.normal(0, 0.02, (n, 1))
        fast, slow = (power_law(FLOPS, f) + shared + rng.normal(0, 0.01, (n, 4)) for f in (factor, 1.0))
        effects = [log_speed_up((FLOPS, a), (FLOPS, b)) for a, b in zip(fast, slow, strict=True)]
        intervals.append(Sample.of(effects).interval())
    assert 0.93 <= covered(intervals, math.log(factor)) <= 0.97


LADDER = [1e12, 3e12, 1e13, 3e13]


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize("slope", [0.0, 0.03, -0.05])
def test_the_intervals_of_a_ladder_cover_the_truth(slope: float, n: int):
    rng, found = np.random.default_rng(n), []
    truth = 0.1 + slope * np.log10(np.array(LADDER) / LADDER[0])
    farther = 10 * LADDER[-1]
    for _ in range(1500):
        ladder = Ladder.of(LADDER, truth + rng.normal(0, 0.01, (n, 1)) + rng.normal(0, 0.02, (n, 4)))
        found.append([s.interval() for s in (ladder.slopes, ladder.rung(-1), ladder.at(farther), ladder.held_out)])
    at_farther = 0.1 + slope * np.log10(farther / LADDER[0])
    for intervals, expected in zip(zip(*found, strict=True), (slope, truth[-1], at_farther, 0.0), strict=True):
        assert 0.93 <= covered(list(intervals), expected) <= 0.97


def test_a_ladder_fits_lines_as_numpy_does():
    rng = np.random.default_rng(0)
    effects = rng.normal(0.1, 0.05, (5, 4))
    ladder, x = Ladder.of(LADDER, effects), np.log10(LADDER)
    lines = [np.polyfit(x, row, 1) for row in effects]
    assert ladder.slopes.values == pytest.approx([line[0] for line in lines])
    assert ladder.at(1e14).values == pytest.approx([np.polyval(line, 14) for line in lines])
    missed = [np.polyval(np.polyfit(x[:-1], row[:-1], 1), x[-1]) - row[-1] for row in effects]
    assert ladder.held_out.values == pytest.approx(missed)
    assert ladder.rung(1).values == pytest.approx(effects[:, 1].tolist())


@pytest.mark.parametrize("flops", [0.9e12, 3.1e14])
def test_a_line_is_continued_for_one_decade_at_most(flops: float):
    with pytest.raises(UserError, match="ten times the largest"):
        Ladder.of(LADDER, np.ones((3, 4))).at(flops)


@pytest.mark.parametrize(
    ("flops", "effects"),
    [([1, 2], [[1, 2]]), ([1, 3, 2], [[1, 2, 3]]), (LADDER, [[1, 2, 3]]), (LADDER, [[1, 2, 3, math.nan]])],
)
def test_what_is_no_ladder_is_refused(flops, effects):
    with pytest.raises(UserError, match="A ladder needs"):
        Ladder.of(flops, effects)


def train_ladder(leads: list[list[float]], factor: str = "rung") -> Runs:
    """Runs of two arms at sizes with ten times the FLOPs each: [seeds, rungs] leads of arm a."""
    runs = Runs()
    for seed, by_rung in enumerate(leads):
        for rung, lead in enumerate(by_rung, 1):
            for arm, loss in {"a": 3.0 - lead, "b": 3.0}.items():
                facts = {"tokens": 1000 * rung, "flops_per_token": 10**rung / rung}
                runs.add("e", seed, {"arm": arm, factor: rung}, **facts)("val/loss", [loss], [400])
    return runs


def leads(*means: float, n: int = 8) -> list[list[float]]:
    return (np.array(means) + np.random.default_rng(n).normal(0, 0.004, (n, len(means)))).tolist()


@pytest.mark.parametrize(
    ("means", "trend", "kind"),
    [
        ((0.1, 0.1, 0.1, 0.1), "holds", Kind.SUPPORTED),
        ((0.1, 0.1, 0.1, 0.1), "flips", Kind.REFUTED),
        ((0.1, 0.1, 0.1, 0.1), "grows", Kind.EQUIVALENT),
        ((0.1, 0.2, 0.3, 0.4), "grows", Kind.SUPPORTED),
        ((0.4, 0.3, 0.2, 0.1), "grows", Kind.REFUTED),
        ((0.4, 0.3, 0.2, 0.1), "shrinks", Kind.SUPPORTED),
        ((0.2, 0.1, 0.0, -0.1), "shrinks", Kind.REFUTED),
        ((0.2, 0.1, 0.0, -0.1), "flips", Kind.SUPPORTED),
        ((0.2, 0.1, 0.0, -0.1), "holds", Kind.REFUTED),
    ],
)
def test_a_trend_over_sizes_gets_its_verdict(means, trend, kind):
    claim = predicate("effect_with_scale", better={"arm": "a"}, worse={"arm": "b"}, trend=trend)
    verdict = verdict_on(claim, train_ladder(leads(*means)))
    assert verdict.kind == kind
    assert "The smaller sizes predict the largest with an error of" in verdict.sentence
    assert "With ten times its FLOPs the lines come to a lead of" in verdict.sentence


def trained_shorter(ahead: float, seeds: int) -> Runs:
    """Arm a's shortest run has the loss of arm b's longest one for `ahead` >= log 4."""
    runs = Runs()
    for seed in range(seeds):
        for arm, lead in {"a": ahead + 0.01 * seed, "b": 0.0}.items():
            for steps in (100, 200, 400):
                arm_of = {"arm": arm, "train.max_steps": steps}
                log = runs.add("e", seed, arm_of, tokens=steps, flops_per_token=1e6)
                log("val/loss", [9 - math.log(steps) - lead], [steps])
    return runs


@pytest.mark.parametrize(
    ("ahead", "seeds", "kind"), [(2.0, 8, Kind.SUPPORTED), (2.0, 3, Kind.UNDERPOWERED), (-2.0, 8, Kind.REFUTED)]
)
def test_a_speed_up_beyond_the_shortest_run_is_a_bound_and_judged_by_ranks(ahead, seeds, kind):
    claim = predicate("faster_by", better={"arm": "a"}, worse={"arm": "b"}, margin=0.1)
    verdict = verdict_on(claim, trained_shorter(ahead, seeds))
    assert verdict.kind == kind
    (contrast,) = verdict.contrasts
    assert isinstance(contrast.sample, RankedSample)
    assert f"For {seeds} of {seeds} seeds the shortest run suffices" in verdict.sentence


def test_unequal_budgets_are_refused_unless_a_factor_sets_them():
    verdict_on(
        predicate("effect_with_scale", better={"arm": "a"}, worse={"arm": "b"}, trend="holds"),
        train_ladder(leads(1, 1, 1)),
    )
    with pytest.raises(UserError, match="mixes unequal budgets of tokens"):
        _ = train_ladder(leads(1, 1, 1), factor="model.d_model").run_table


def test_flops_that_are_not_known_are_said():
    runs = trained_shorter(0.1, 3)
    for row in runs.fact_rows:
        del row["flops_per_token"]
    verdict = verdict_on(predicate("faster_by", better={"arm": "a"}, worse={"arm": "b"}), runs)
    assert "the FLOPs of run r0000 are not known" in verdict.sentence
