"""The rule finds nothing where nothing differs, and a difference where there is one."""

import pytest

from lmablate.results.report.calibration import FALSE_VERDICTS, null_tests, pairings
from lmablate.results.report.study import Study
from tests.results.report.helpers import as_exported, simulated


def test_no_difference_is_found_where_nothing_differs(study: Study) -> None:
    tests = null_tests(study)
    assert {t.on_all.sample.n for t in tests} == {20}
    assert {size: n for size, (_, n) in tests[0].families.items()} == {4: 5, 5: 4}
    assert not any(t.kind in FALSE_VERDICTS for t in tests)


def test_a_difference_between_the_arms_of_an_aa_experiment_is_seen() -> None:
    simulation = simulated(0)
    table = simulation.table
    spoilt = (table["experiment"] == "aa") & (table["model.init.salt"] == "b") & (table["metric"] == "val/loss")
    table.loc[spoilt, "value"] += 0.05
    aa = as_exported("aa", table, simulation.facts)
    test = null_tests(Study({"aa": aa}))[0]
    assert test.kind in FALSE_VERDICTS
    assert test.families == {4: (5, 5), 5: (4, 4)}


def test_the_variance_ratio_of_two_arms_is_that_of_their_paired_differences(study: Study) -> None:
    runs = study.experiments["activation_llama"].runs.sort_values("seed")
    a, b = (runs.loc[runs["model/act"] == act, "val/loss"] for act in ("swiglu", "relu"))
    (pairing,) = [p for p in pairings(study) if p.experiment == "activation_llama"]
    assert (pairing.pairs_of_arms, pairing.seeds) == (1, 5)
    assert pairing.ratio == pytest.approx((a.to_numpy() - b.to_numpy()).var(ddof=1) / (a.var() + b.var()))
