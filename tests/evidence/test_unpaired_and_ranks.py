"""Welch's test against scipy, and exact rank tests against scipy and by counting."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from lmablate.errors import UserError
from lmablate.evidence.looks import LookPlan
from lmablate.evidence.unpaired import UnpairedSample
from lmablate.evidence.worst_ranks import rank_sum_p, signed_rank_p, worst_differences
from lmablate.referee.trial import Rules, look_at_pairs

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "m", "sd"), [(2, 2, 1.0), (4, 4, 3.0), (5, 9, 0.2), (30, 3, 1.0)])
def test_welch_agrees_with_scipy(n: int, m: int, sd: float) -> None:
    a, b = RNG.normal(0.5, 1, n), RNG.normal(0, sd, m)
    ours, theirs = UnpairedSample.of_groups(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert ours.mean == pytest.approx(a.mean() - b.mean())
    assert ours.interval(0.9) == pytest.approx(tuple(theirs.confidence_interval(0.9)))
    assert ours.p_above(0) == pytest.approx(stats.ttest_ind(a, b, equal_var=False, alternative="greater")[1])
    assert ours.p_below(0) == pytest.approx(stats.ttest_ind(a, b, equal_var=False, alternative="less")[1])
    shifted = stats.ttest_ind(a, b + 0.3, equal_var=False, alternative="less")[1]
    assert ours.p_below(0.3) == pytest.approx(shifted)
    assert ours.p_within(0.3) == pytest.approx(max(ours.p_above(-0.3), shifted))


def test_groups_without_spread_are_judged_by_the_chance_of_their_order() -> None:
    assert UnpairedSample.of_groups([1.0] * 3, [0.0] * 4).p_above(0) == pytest.approx(1 / 35)
    assert UnpairedSample.of_groups([1.0] * 3, [1.0] * 4).p_above(0) == 1
    assert UnpairedSample.of_groups([1.0], [0.0, 1.0]).p_above(0) == 1


@pytest.mark.parametrize("n", [3, 6, 9])
def test_signed_ranks_agree_with_scipy(n: int) -> None:
    a, b = RNG.normal(0, 1, n), RNG.normal(0.5, 1, n)
    ours = worst_differences(a, b)
    assert signed_rank_p(ours) == pytest.approx(stats.wilcoxon(b - a, alternative="greater", method="exact")[1])
    assert signed_rank_p(-ours) == pytest.approx(stats.wilcoxon(b - a, alternative="less", method="exact")[1])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2, 3, 4], [np.nan, np.inf, 3.5, 3]),
        ([1, np.nan, 3, 4], [2, np.nan, np.inf, 3]),
        ([1, 1, 1, 1, 1], [2, 2, 2, 0, np.inf]),
        ([np.nan, np.nan], [1, 2]),
    ],
)
def test_signed_ranks_with_ties_and_diverged_runs_agree_with_counting(a: list[float], b: list[float]) -> None:
    found = worst_differences(a, b)
    values = found[found != 0]
    ranks = stats.rankdata(np.abs(values))
    observed = ranks[values > 0].sum()
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product([0, 1], repeat=len(ranks))
    ]
    assert signed_rank_p(found) == pytest.approx(np.mean(np.array(sums) >= observed - 1e-9))


def test_a_pair_that_diverged_in_both_arms_is_a_tie() -> None:
    assert signed_rank_p(worst_differences([np.nan], [np.inf])) == 1
    assert worst_differences([1, np.nan], [np.nan, np.nan]).tolist() == [np.inf, 0]


@pytest.mark.parametrize(
    ("a", "b"),
    [([1, 2, 3], [4, 5, 6]), ([1, 5], [2, 2, 7]), ([1, 2, np.nan], [np.nan, np.inf, 3]), ([3, 3], [3, 3])],
)
def test_rank_sums_agree_with_counting(a: list[float], b: list[float]) -> None:
    values = np.where(np.isfinite([*a, *b]), [*a, *b], np.inf)
    ranks = stats.rankdata(values)
    sums = [sum(choice) for choice in combinations(ranks, len(a))]
    expected = np.mean(np.array(sums) <= ranks[: len(a)].sum() + 1e-9)
    assert rank_sum_p(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_equivalence_by_ranks_agrees_with_two_tests_of_scipy(margin: float) -> None:
    a, b = RNG.normal(0, 0.5, 12), RNG.normal(0.1, 0.5, 12)
    d = b - a
    above = stats.wilcoxon(d + margin, alternative="greater", method="exact")[1]
    below = stats.wilcoxon(d - margin, alternative="less", method="exact")[1]
    rules = Rules(LookPlan((12,)), margin=margin, exact=True)
    assert look_at_pairs(a, b, rules).p_values[2] == pytest.approx(np.max([above, below]))
    assert look_at_pairs(a, b, replace(rules, margin=0.0)).p_values[2] == 1


def test_pairs_must_be_equally_many() -> None:
    with pytest.raises(UserError, match="equally many"):
        worst_differences([1], [1, 2])
