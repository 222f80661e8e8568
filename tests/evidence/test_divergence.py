"""A diverged run counts, by what is read of it; a run that failed for another reason does not."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lmablate.evidence import Kind, PartialSample, RankedSample, Reading, Sample, decide
from lmablate.evidence.divergence import composite_loss, step_of_divergence, untrained_loss
from tests.evidence.helpers import STEPS, Runs, verdict_on, within_binomial_bound
from tests.evidence.predicate_scenes import effects, predicate

LAST, UNTRAINED = 400, 7.0
EVALS = STEPS[::50]


def curves(runs: Runs, seed: int, arm: dict[str, object], diverged: int | None = None, loss: float = 3.0) -> None:
    """A run whose validation loss falls to `loss`, or ends before the step at which it diverged."""
    log = runs.add("e", seed, arm) if diverged is None else runs.add_diverged("e", seed, arm, diverged)
    end = LAST + 1 if diverged is None else diverged
    steps = EVALS[end > EVALS]
    log("val/loss", loss + 6 * np.exp(-steps / 60) + 0.01 * seed, steps)
    every = STEPS[end > STEPS]
    log("grad_norm", 1 + np.sin(every) ** 2 + 0.1 * seed, every)
    log("lr", np.minimum(every / 40, 1 - (every - 40) / 1000), every)
    log("init/loss", [9.0], [0])
    log("init/loss_over_uniform", [9.0 - UNTRAINED], [0])
    if diverged is None:
        log("dead_units/layer_0", [0.1], [LAST])
        log("position_loss/4x", [loss], [LAST])


@pytest.fixture(scope="module")
def table():
    runs = Runs()
    curves(runs, 0, {"arm": "a"})
    curves(runs, 1, {"arm": "a"}, diverged=110)
    return runs.run_table


OWN = 3.01 + 6 * np.exp(-EVALS / 60)
CARRIED = np.where(EVALS < 110, OWN, UNTRAINED)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"metric": "val/loss", "reduce": "first"}, OWN[0]),
        ({"metric": "grad_norm", "reduce": "first"}, 1.1),
        ({"metric": "val/loss", "reduce": "mean", "during": (0.0, 0.25)}, OWN[:3].mean()),
        ({"metric": "grad_norm", "reduce": "mean", "during": "warmup"}, (1.1 + np.sin(STEPS[:41]) ** 2).mean()),
        ({"metric": "val/loss"}, UNTRAINED),
        ({"metric": "val/loss", "reduce": "mean"}, CARRIED.mean()),
        ({"metric": "val/loss", "reduce": "mean", "during": (0.25, 0.5)}, CARRIED[2:5].mean()),
        ({"metric": "val/loss", "reduce": "change"}, np.polyfit(EVALS, CARRIED, 1)[0] * 400),
        ({"metric": "val/loss", "reduce": "change", "during": (0.5, 1.0)}, 0.0),
        ({"metric": "grad_norm", "reduce": "mean"}, np.inf),
        ({"metric": "grad_norm", "reduce": "sd", "during": "after_warmup"}, np.inf),
        ({"metric": "grad_norm", "reduce": "peak_to_median", "transform": "log"}, np.inf),
        ({"metric": "val/loss", "reduce": "spikes"}, np.inf),
        ({"metric": "grad_norm", "reduce": "peak_step"}, np.nan),
        ({"metric": "grad_norm", "reduce": "rise_step"}, np.nan),
        ({"metric": "val/loss", "since_start": True}, UNTRAINED - OWN[0]),
        ({"metric": "dead_units/layer_{i}"}, np.nan),
        ({"metric": "position_loss/4x", "minus": "val/loss"}, np.nan),
    ],
    ids=str,
)
def test_what_a_divergence_cuts_is_replaced_by_what_is_read(table, arguments, expected):
    read: Any = Reading(**arguments).of(table, "e", "r0001")
    assert read == pytest.approx(expected, nan_ok=True)


def test_a_run_that_finished_counts_as_no_worse_than_one_that_learnt_nothing():
    runs = Runs()
    curves(runs, 0, {"arm": "a"}, loss=30.0)
    assert Reading("val/loss").of(runs.run_table, "e", "r0000") == UNTRAINED
    assert Reading("val/loss", "first").of(runs.run_table, "e", "r0000") == 36.0


@pytest.mark.parametrize(
    ("loss", "untrained", "counts_as"),
    [(3.0, 7.0, 3.0), (9.0, 7.0, 7.0), (np.nan, 7.0, 7.0), (np.inf, 7.0, 7.0), (9.0, np.nan, 9.0)],
)
def test_a_final_loss_is_capped(loss, untrained, counts_as):
    assert composite_loss(loss, untrained) == counts_as


def test_an_initialisation_far_above_the_uniform_loss_does_not_raise_the_cap():
    assert untrained_loss(40.0, 33.0) == 7.0
    assert untrained_loss(6.5, -0.5) == untrained_loss(6.5) == 6.5


@pytest.mark.parametrize(
    ("state", "error", "step"),
    [
        ("failed", "diverged at step 12", 12),
        ("failed", "Diverged: diverged at step 12", 12),
        ("failed", "OutOfMemoryError: diverged at step 3", None),
        ("failed", None, None),
        ("done", "diverged at step 12", None),
        ("running", float("nan"), None),
    ],
)
def test_only_a_failed_run_that_says_so_has_diverged(state, error, step):
    assert step_of_divergence(state, error) == step


def arms(diverged: int, n: int = 10, error: str = "diverged at step 110") -> Runs:
    """Arm a is better by .05, with a spread; the first runs of arm b end with an error."""
    runs = Runs()
    for seed, effect in enumerate(effects(5, 2, n)):
        curves(runs, seed, {"arm": "a"}, loss=3 - effect)
        if seed < diverged and not error.startswith("diverged"):
            runs.add("e", seed, {"arm": "b"}, state="failed", error=error)("val/loss", [9.0], [0])
        else:
            curves(runs, seed, {"arm": "b"}, diverged=110 if seed < diverged else None)
    return runs


IS_LOWER = predicate("lower", better={"arm": "a"}, worse={"arm": "b"})


def test_a_row_that_a_divergence_touches_says_so_and_is_judged_by_ranks():
    (contrast,) = IS_LOWER.measure(arms(3).run_table)
    assert isinstance(contrast.sample, RankedSample)
    assert (contrast.sample.n, contrast.diverged) == (10, 3)
    assert contrast.sample.values[0] == pytest.approx(UNTRAINED - (3 - effects(5, 2, 10)[0] + 6 * np.exp(-400 / 60)))
    assert contrast.p_support == 2 / 1024
    verdict = verdict_on(IS_LOWER, arms(3))
    assert verdict.kind == Kind.SUPPORTED
    assert not verdict.normal_tails
    assert "3 of 20 runs diverged" in verdict.sentence
    assert verdict.row()["diverged"] == 3


def test_what_failed_for_another_reason_is_never_replaced():
    verdict = verdict_on(IS_LOWER, arms(3, error="OutOfMemoryError: CUDA out of memory"))
    assert verdict.n == 7
    assert "left out (3 failed): run them again" in verdict.sentence
    assert verdict.row()["diverged"] == 0


def test_a_divergence_after_what_is_read_changes_nothing():
    early = predicate("lower", better={"arm": "a"}, worse={"arm": "b"}, reduce="mean", during=[0.0, 0.25])
    (contrast,) = early.measure(arms(3).run_table)
    (without,) = early.measure(arms(0).run_table)
    assert contrast.sample == without.sample
    assert "3 of 20 runs diverged, after what is read here" in contrast.note


def test_arms_of_which_one_diverges_are_not_called_alike():
    runs = arms(1)
    tolerant = predicate("lower", better={"arm": "a"}, worse={"arm": "b"}, margin=1.0)
    assert verdict_on(tolerant, arms(0)).kind == Kind.EQUIVALENT
    assert verdict_on(tolerant, runs).kind == Kind.UNDERPOWERED


def test_a_probe_that_was_not_reached_is_judged_as_in_the_worst_case():
    deader = predicate("lower", metric="dead_units/layer_{i}", better={"arm": "a"}, worse={"arm": "b"})
    (contrast,) = deader.measure(arms(3).run_table)
    assert isinstance(contrast.sample, PartialSample)
    assert (contrast.sample.n, contrast.sample.missing) == (7, 3)
    assert contrast.interval[0] < -0.3
    unlimited = predicate("lower", metric="position_loss/4x", better={"arm": "a"}, worse={"arm": "b"})
    assert verdict_on(unlimited, arms(1)).kind == Kind.UNDERPOWERED
    assert "every seed of e diverged" in verdict_on(unlimited, arms(10)).sentence


def grid(diverged: dict[str, int]) -> Runs:
    """Two arms at three rates, of which b is worse by 1 at the highest; there some of an arm's runs diverge."""
    runs = Runs()
    for seed in range(8):
        for arm in "ab":
            for rate in (1e-3, 1e-2, 1e-1):
                cut = rate == 1e-1 and seed < diverged.get(arm, 0)
                loss = 3 + 0.1 * (rate != 1e-2) + (arm == "b") * (rate == 1e-1)
                curves(runs, seed, {"arm": arm, "optim.lr": rate}, 110 if cut else None, loss + 0.003 * (seed % 3))
    return runs


def test_a_rate_at_which_runs_diverge_is_not_borne():
    higher = predicate("takes_higher_lr", better={"arm": "a"}, worse={"arm": "b"}, within=100.0)
    (contrast,) = higher.measure(grid({"b": 8}).run_table)
    assert contrast.diverged == 8
    assert contrast.sample.n == 8
    assert "arm=b is within 100 of its best up to optim.lr=0.1" in verdict_on(higher, grid({"a": 8})).sentence
    runs = Runs()
    for seed, arm, rate in itertools.product(range(4), "ab", (1e-3, 1e-2)):
        curves(runs, seed, {"arm": arm, "optim.lr": rate}, 110 if arm == "a" else None, 3 + 100 * rate)
    assert "diverged at every optim.lr" in verdict_on(replace(higher, within=0.1), runs).sentence


def test_a_diverged_rate_stays_in_the_grid_of_the_sensitivity():
    calmer = predicate("less_sensitive", better={"arm": "a"}, worse={"arm": "b"})
    (finished,), (diverged,) = (calmer.measure(grid(each).run_table) for each in ({}, {"b": 8}))
    assert "(0.001 to 0.1)" in diverged.label
    assert diverged.sample.n == 8
    assert diverged.sample.mean > finished.sample.mean + 0.5
    assert verdict_on(calmer, grid({"b": 8})).kind == Kind.SUPPORTED


def test_a_rate_at_which_a_seed_diverged_keeps_its_mean_and_may_be_the_best():
    best = predicate("lower_at_best_lr", better={"arm": "a"}, worse={"arm": "b"})
    runs = grid({})
    for seed in range(8):  # a rate that would be the best of b, if its two diverged runs were left out
        curves(runs, seed, {"arm": "b", "optim.lr": 1.0}, 110 if seed < 2 else None, 1.5)
    (contrast,) = best.measure(runs.run_table)
    assert contrast.label.endswith("arm=b at optim.lr=1"), "the mean of six times 1.5 and twice 7 is below 3"
    assert contrast.diverged == 2


def test_equal_arms_of_which_one_loses_its_worst_quarter_are_rarely_said_to_differ_in_its_favour():
    rng = np.random.default_rng(0)
    flattered = counted = 0
    for _ in range(2000):
        a, b = rng.normal(size=(2, 12))
        cut = a > np.quantile(a, 0.75)
        flattered += Sample.paired(b[~cut], a[~cut]).p_above(0) <= 0.025
        counted += RankedSample(tuple(b - np.where(cut, 9.0, a))).p_above(0) <= 0.025
    assert flattered > 0.08 * 2000
    assert within_binomial_bound(counted, 2000, 0.025)


def test_a_divergence_is_evidence():
    """A is better by a little and B diverges in a quarter of its runs: ranks see it, complete pairs do not."""
    rng = np.random.default_rng(1)
    by_ranks = by_pairs = 0
    for _ in range(1000):
        gap, cut = rng.normal(0.03, 0.08, 10), rng.random(10) < 0.25
        by_ranks += RankedSample(tuple(np.where(cut, np.inf, gap))).p_above(0) <= 0.0025
        by_pairs += (~cut).sum() > 1 and Sample.of(gap[~cut]).p_above(0) <= 0.0025
    assert by_ranks > 1.5 * by_pairs


def test_runs_that_diverged_must_be_comparable_too():
    runs = arms(1)
    runs.fact_rows[-1]["tokens"] = 5
    with pytest.raises(Exception, match="unequal budgets"):
        assert runs.run_table


def test_a_kind_of_claim_that_is_all_ranks_is_decided_without_normal_tails():
    decision = decide([IS_LOWER.measure(arms(10).run_table)])[0]
    assert decision.kind == Kind.SUPPORTED
    assert not decision.normal_tails
    assert decide([IS_LOWER.measure(arms(0, n=4).run_table)])[0].normal_tails
