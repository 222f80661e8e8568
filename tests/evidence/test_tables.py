"""A table of runs counts the right rows, whatever their order and spelling, and refuses runs that do not compare."""

import numpy as np
import pandas as pd
import pytest

from lmablate.errors import UserError
from lmablate.evidence import check_facts
from tests.evidence.helpers import Runs, run_table, verdict_on
from tests.evidence.predicate_scenes import curve, effects, lower, lower_at_best_lr, predicate


def test_the_order_of_rows_and_the_spelling_of_factors_do_not_matter():
    runs = Runs()
    sweep = lower_at_best_lr(runs, effects(5, 1, 4))
    table = runs.table.sample(frac=1, random_state=0)
    table["optim.lr"] = table["optim.lr"].map("{:.0e}".format)
    first, second = (verdict_on(sweep, run_table(t, runs.facts)) for t in (runs.table, table))
    assert first == second
    flags = Runs()
    for seed in range(3):
        for tied in (True, False):
            flags.add("e", seed, {"model/tying": tied})("val/loss", [3 + tied + seed / 10 + tied * seed / 50], [9])
    untied_is_lower = predicate("lower", better={"model/tying": "false"}, worse={"model/tying": True})
    assert verdict_on(untied_is_lower, flags).effect == pytest.approx(1.02)


def test_a_diverged_run_counts_as_one_that_learnt_nothing():
    runs = Runs()
    for seed in range(3):
        for arm in "ab":
            log = runs.add("e", seed, {"arm": arm})
            log("val/loss", [9.2, np.nan if arm == "b" and seed == 1 else 3.0 + seed / 100], [0, 400])
            log("init/loss", [9.2], [0])
    verdict = verdict_on(predicate("lower", better={"arm": "a"}, worse={"arm": "b"}), runs)
    assert verdict.n == 3
    assert verdict.effect == pytest.approx((9.2 - 3.01) / 3)


def test_runs_that_are_not_done_are_left_out_and_said_to_be():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    runs.add("e", 9, {"arm": "b"}, state="failed", tokens=3, code_version="old")("val/loss", [99.0], [400])
    runs.add("e", 9, {"arm": "a"}, state="running", tokens=2)("val/loss", [9.0], [400])
    verdict = verdict_on(is_lower, runs)
    assert verdict.n == 4
    assert verdict.sentence.endswith("are left out (1 failed, 1 running): run them again, or to their end.")


def test_a_step_that_was_logged_twice_counts_as_logged_last():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    stale = runs.table.assign(value=77.0)
    table = pd.concat([stale, runs.table], ignore_index=True)
    assert verdict_on(is_lower, run_table(table, runs.facts)).effect == verdict_on(is_lower, runs).effect


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ({"data_fingerprint": "d2"}, "Experiment e mixes data fingerprints.*d1 .run r0000., d2 .run r0008."),
        ({"code_version": "c2"}, "mixes code versions.*c1.*c2"),
        ({"tokens": 1001}, "Experiment e mixes unequal budgets.*1000.*1001"),
    ],
)
def test_tables_that_mix_what_cannot_be_compared_are_refused(fact, message):
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    runs.add("e", 9, {"arm": "b"}, **fact)("val/loss", curve(9)[-1:], [400])
    with pytest.raises(UserError, match=message):
        verdict_on(is_lower, runs)


@pytest.mark.parametrize(("fact", "one", "other"), [("tokens", 1, 2), ("data_fingerprint", "d1", "d2")])
def test_experiments_may_have_budgets_and_texts_of_their_own(fact, one, other):
    runs = Runs()
    runs.add("e", 0, {"arm": "a"}, **{fact: one})
    runs.add("f", 0, {"arm": "a"}, **{fact: other})
    check_facts(runs.facts)


@pytest.mark.parametrize("factor", ["data", "data.max_bytes", "scale"])
def test_an_experiment_may_vary_its_text(factor):
    runs = Runs()
    for arm in "ab":
        runs.add("e", 0, {"arm": arm, factor: "1"}, data_fingerprint="d1", **{factor: "1"})
        runs.add("e", 0, {"arm": arm, factor: "2"}, data_fingerprint="d2", **{factor: "2"})
    check_facts(runs.facts)
    runs.add("e", 1, {"arm": "a", factor: "1"}, data_fingerprint="d2", **{factor: "1"})
    with pytest.raises(UserError, match="Experiment e mixes data fingerprints"):
        check_facts(runs.facts)


def test_incomplete_tables_of_facts_are_refused():
    runs = Runs()
    is_lower = lower(runs, effects(5, 1, 4))
    with pytest.raises(UserError, match="facts has no column tokens"):
        verdict_on(is_lower, run_table(runs.table, runs.facts.drop(columns="tokens")))
    with pytest.raises(UserError, match="no row for run r0000"):
        verdict_on(is_lower, run_table(runs.table, runs.facts.iloc[1:]))
