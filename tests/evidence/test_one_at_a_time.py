"""Effects of options beside one base agree with scipy and statsmodels, and keep their error rate."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lmablate.errors import UserError
from lmablate.evidence.one_at_a_time import compare_with_base

ARMS = ("base", "without_a", "without_b", "without_c")


def readings(
    draw: np.random.Generator, seeds: int, effects: dict[str, float], spreads: dict[str, float]
) -> pd.DataFrame:
    """Return one reading per arm and seed: a block per seed, the arm's effect, and noise of the arm's own spread."""
    blocks = draw.normal(0, 0.5, seeds)
    rows = [
        (arm, seed, blocks[seed] + effects.get(arm, 0.0) + draw.normal(0, spreads.get(arm, 0.1)))
        for arm in ARMS
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["stack", "seed", "value"])


def test_scipy_and_statsmodels_find_the_same() -> None:
    table = readings(np.random.default_rng(0), 5, {"without_a": 0.4, "without_b": -0.1}, {"without_c": 0.3})
    found = compare_with_base(table, "base")
    wide = table.pivot(index="seed", columns="stack", values="value")
    assert (found.factor, found.base, found.seeds) == ("stack", "base", 5)
    assert {effect.term for effect in found.effects} == {*ARMS[1:]}
    tests: dict[str, Any] = {arm: stats.ttest_rel(wide[arm], wide["base"]) for arm in ARMS[1:]}
    holm: Any = multipletests([test.pvalue for test in tests.values()], method="holm")
    corrected = dict(zip(tests, holm[1], strict=True))
    for effect in found.effects:
        interval = tests[effect.term].confidence_interval()
        assert effect.name == f"{effect.term} - base"
        assert effect.value == pytest.approx((wide[effect.term] - wide["base"]).mean())
        assert effect.interval == pytest.approx((interval.low, interval.high))
        assert effect.p == pytest.approx(tests[effect.term].pvalue)
        assert effect.adjusted == pytest.approx(corrected[effect.term])
    sizes = [abs(effect.value) for effect in found.effects]
    assert sizes == sorted(sizes, reverse=True)


def test_the_order_of_runs_does_not_matter() -> None:
    table = readings(np.random.default_rng(1), 3, {"without_b": 0.2}, {})
    assert compare_with_base(table, "base") == compare_with_base(table.iloc[::-1], "base")


@pytest.mark.slow
def test_one_noisy_arm_does_not_raise_the_error_rate() -> None:
    """Where nothing matters, at most 5 % of studies show an effect, though one arm varies five times as much."""
    draw, studies = np.random.default_rng(2), 1000
    wrong = sum(
        min(e.adjusted for e in compare_with_base(readings(draw, 5, {}, {"without_c": 0.5}), "base").effects) <= 0.05
        for _ in range(studies)
    )
    assert stats.binomtest(wrong, studies, 0.05, "greater").pvalue > 0.01, wrong


@pytest.mark.parametrize(
    ("change", "base", "words"),
    [
        (lambda table: table, "bass", "base=bass is not an option of stack here: it must be one of base, without_a"),
        (lambda table: table.assign(pos="rope"), "base", "for one factor that varies; these vary: stack, pos"),
        (lambda table: table.drop(columns="stack"), "base", "for one factor that varies; these vary: none"),
        (lambda table: table[table["seed"] == 0], "base", "Effects need two seeds or more"),
        (lambda table: table.iloc[1:], "base", "The arm stack=base has finished with 2 of 3 seeds"),
        (lambda table: pd.concat([table, table.tail(1)]), "base", "stack=without_c has more than one run with seed 2"),
        (lambda table: table.replace({"value": {table["value"].max(): float("nan")}}), "base", "has no finite reading"),
        (lambda table: table.replace({"value": {table["value"].max(): float("inf")}}), "base", "has no finite reading"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, base: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compare_with_base(change(readings(np.random.default_rng(3), 3, {}, {})), base)
