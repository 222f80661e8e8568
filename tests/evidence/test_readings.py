"""A reading's number is the one that the raw curve shows."""

from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from scipy import stats

from lmablate.evidence import Predicate, Reading, RunTable, spike_score
from lmablate.evidence.readings import REDUCTIONS, TRANSFORMS
from lmablate.evidence.tables import NotMeasured
from tests.evidence.helpers import STEPS, Runs

RNG = np.random.default_rng(0)
LOSS = 3 + np.exp(-STEPS / 100) + RNG.normal(0, 0.01, STEPS.size)
NORM = np.where(STEPS <= 40, STEPS / 40, 1) + RNG.normal(0, 0.01, STEPS.size)
RATE = np.minimum(STEPS / 40, 1 - (STEPS - 40) / 1000)


@pytest.fixture(scope="module")
def table() -> RunTable:
    runs = Runs()
    log = runs.add("e", 0, {"arm": "a"})
    log("train/loss", LOSS)
    log("grad_norm", NORM)
    log("lr", RATE)
    log("position_loss/1x", [3.0], [400])
    log("position_loss/4x", [3.5], [400])
    for layer in (0, 1, 2, 10):
        log(f"dead_units/layer_{layer}", [layer / 100], [400])
    log("dead_units/layer_2/extra", [99.0], [400])
    return runs.run_table


def test_a_claim_may_name_every_reduction_and_transform():
    hints = get_type_hints(Predicate)
    assert get_args(hints["reduce"]) == tuple(REDUCTIONS)
    assert get_args(hints["transform"]) == tuple(TRANSFORMS)


def read(table: RunTable, *arguments: Any, **options: Any) -> float:
    """The reading of the first run of a table."""
    return Reading(*arguments, **options).of(table, "e", "r0000")


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("first", LOSS[0]),
        ("last", LOSS[-1]),
        ("mean", LOSS.mean()),
        ("sd", stats.tstd(LOSS)),
        ("change", np.polyfit(STEPS, LOSS, 1)[0] * 400),
        ("spikes", spike_score(LOSS, 100)),
        ("peak_to_median", LOSS.max() / np.median(LOSS)),
    ],
)
def test_a_reduction_is_that_of_numpy_or_scipy(table, reduce, expected):
    assert read(table, "train/loss", reduce) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("during", "inside"),
    [
        ([0.25, 0.5], (STEPS >= 100) & (STEPS <= 200)),
        ("warmup", STEPS <= 40),
        ("after_warmup", STEPS > 40),
    ],
)
def test_a_stretch_of_training_holds_exactly_its_steps(table, during, inside):
    assert read(table, "grad_norm", "mean", during) == pytest.approx(NORM[inside].mean())


def test_the_logarithm_is_taken_last_and_minus_subtracts_another_metric(table):
    assert read(table, "grad_norm", "mean", transform="log") == pytest.approx(np.log(NORM.mean()))
    assert read(table, "position_loss/4x", minus="position_loss/1x") == pytest.approx(0.5)


def test_layers_are_averaged_or_listed_in_order_of_depth(table):
    assert read(table, "dead_units/layer_{i}") == pytest.approx(0.13 / 4)
    by_layer = Reading("dead_units/layer_{i}").by_layer(table, "e", "r0000")
    assert by_layer == [0.0, 0.01, 0.02, 0.1]


@pytest.mark.parametrize("peak", [0, 37, 200, 399])
def test_the_peak_is_that_of_a_moving_average_and_not_of_one_noisy_batch(peak):
    runs = Runs()
    bump = np.exp(-(((STEPS - peak) / 25) ** 2)) + RNG.normal(0, 0.02, STEPS.size)
    bump[300 if peak < 250 else 100] += 1.5
    runs.add("e", 0, {"arm": "a"})("grad_norm", bump)
    found = read(runs.run_table, "grad_norm", "peak_step")
    assert found == pytest.approx(peak, abs=8)


@pytest.mark.parametrize("peak", [60, 120, 300])
def test_a_peak_after_the_first_fall_is_found_below_the_norm_at_the_start(peak):
    runs = Runs()
    norm = 5 * np.exp(-STEPS / 10) + np.exp(-(((STEPS - peak) / 20) ** 2)) + RNG.normal(0, 0.02, STEPS.size)
    runs.add("e", 0, {"arm": "a"})("grad_norm", norm)
    assert read(runs.run_table, "grad_norm", "peak_step") < 10
    assert read(runs.run_table, "grad_norm", "rise_step") == pytest.approx(peak, abs=8)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (Reading("val/loss"), "run r0000 of e has no val/loss"),
        (Reading("residual/drop_loss/layer_{i}"), "has no residual/drop_loss/layer_{i}"),
        (Reading("train/loss", "sd", [0.9991, 0.9999]), "has 0 points of train/loss"),
        (Reading("grad_norm", "spikes", [0.0, 0.04]), "has 17 points of grad_norm"),
        (Reading("dead_units/layer_0", transform="log"), "has 0.0 for last of dead_units/layer_0"),
    ],
)
def test_what_cannot_be_read_is_not_measured(table, reading, message):
    with pytest.raises(NotMeasured, match=message):
        reading.of(table, "e", "r0000")


def test_a_reading_is_put_in_words_that_tell_it_from_others():
    words = {
        Reading("val/loss").in_words: "val/loss",
        Reading("val/loss", "mean", [0.1, 0.4]).in_words: "mean of val/loss (10%-40%)",
        Reading("grad_norm", "sd", "after_warmup", "log").in_words: "log sd of grad_norm (after_warmup)",
        Reading("position_loss/4x", minus="position_loss/1x").in_words: "position_loss/4x − position_loss/1x",
    }
    assert list(words) == list(words.values())


def test_a_norm_that_overflowed_is_not_measured():
    runs = Runs()
    runs.add("e", 0, {"arm": "a"})("grad_norm", [1.0, np.inf], [0, 1])
    with pytest.raises(NotMeasured, match="has inf for mean of grad_norm"):
        read(runs.run_table, "grad_norm", "mean")


def evaluated(finals: dict[int, float], diverged: bool = False) -> RunTable:
    """Runs of seeds 0 to 2 with a loss of 3 on the fixed batches, and another one on the whole file."""
    runs = Runs()
    for seed in range(3):
        log = runs.add("e", seed, {"arm": "a"})
        log("val/loss", [5.0, 3.0], [0, 400])
        if seed in finals:
            log("final/val_loss", [finals[seed]], [400])
    if diverged:
        log = runs.add_diverged("e", 3, {"arm": "a"}, step=200)
        log("init/loss", [6.0], [0])
        log("val/loss", [5.0], [0])
    return runs.run_table


@pytest.mark.parametrize(
    ("finals", "diverged", "options", "expected"),
    [
        ({0: 2.9, 1: 2.8, 2: 2.7}, False, {}, 2.9),
        ({0: 2.9, 1: 2.8, 2: 2.7}, True, {}, 2.9),
        ({0: 2.9, 1: 2.8, 2: 2.7}, False, {"transform": "log"}, np.log(2.9)),
        ({0: 2.9, 1: 2.8, 2: 2.7}, False, {"reduce": "mean"}, 4.0),
        ({0: 2.9, 1: 2.8, 2: 2.7}, False, {"reduce": "first"}, 5.0),
        ({0: 2.9, 1: 2.8, 2: 2.7}, False, {"during": (0.0, 0.5)}, 5.0),
        ({0: 2.9, 1: 2.8}, False, {}, 3.0),  # only like is compared with like
        ({}, False, {}, 3.0),
    ],
)
def test_a_final_loss_is_that_of_the_whole_file_if_all_runs_have_it(finals, diverged, options, expected):
    assert read(evaluated(finals, diverged), "val/loss", **options) == pytest.approx(expected)


def test_a_diverged_run_counts_as_untrained_beside_runs_evaluated_on_the_whole_file():
    table = evaluated({0: 2.9, 1: 2.8, 2: 2.7}, diverged=True)
    assert Reading("val/loss").of(table, "e", "r0003") == pytest.approx(6.0)
