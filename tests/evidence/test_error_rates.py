"""False verdicts are no more frequent than promised: simulated families of claims whose truth is known."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from lmablate.evidence import Difference, Equality, Kind, Sample, decide
from tests.evidence.helpers import claim_of, run_table, within_binomial_bound
from tests.evidence.predicate_scenes import predicate


def families(
    rng: np.random.Generator, count: int, truth: float, sd: float = 1.0, claims: int = 12, seeds: int = 4
) -> Iterator[list[Sample]]:
    """Families of claims about one truth. All arms have the same control, so the claims depend on each other."""
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
    for family in families(np.random.default_rng(5), 1200, truth=truth, sd=0.5):
        differ = decide([[Difference("x", sample, 1.0, ())] for sample in family])
        same = decide([[Equality("x", sample, 1.0, ())] for sample in family])
        wrong["equivalent"] += any(d.kind == Kind.EQUIVALENT for d in differ)
        wrong["equal"] += any(d.kind == Kind.SUPPORTED for d in same)
    for errors in wrong.values():
        assert within_binomial_bound(errors, 1200, 0.05)
        assert errors > 5


@pytest.mark.parametrize(("truth", "margin"), [(-1.0, 1.0), (1.0, 1.0), (0.0, 0.01)])
def test_equalities_are_rarely_refuted_at_the_margin_or_within_a_narrow_one(truth, margin):
    wrong = sum(
        any(d.kind == Kind.REFUTED for d in decide([[Equality("x", sample, margin, ())] for sample in family]))
        for family in families(np.random.default_rng(6), 1500, truth=truth)
    )
    assert within_binomial_bound(wrong, 1500, 0.025)


def test_choosing_each_arms_best_learning_rate_keeps_alpha():
    """Hundreds of A/A sweeps in one table, each judged as a family of its own."""
    rng = np.random.default_rng(7)
    experiments, seeds, rates = 600, 4, (1e-4, 1e-3, 1e-2)
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
        claim_of(
            predicate("lower_at_best_lr", experiment=f"e{i}", better={"arm": "a"}, worse={"arm": "b"}, margin=0.0),
            id=f"C{i}",
        )
        for i in range(experiments)
    ]
    runs = run_table(table, facts)
    wrong = sum(decide([sweep.measure(runs)])[0].kind != Kind.UNDERPOWERED for sweep in sweeps)
    assert within_binomial_bound(wrong, experiments, 0.05)
    assert wrong > 0
