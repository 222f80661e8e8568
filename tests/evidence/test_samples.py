"""Each kind of sample against scipy, statsmodels or brute force, and against values for which the t test errs."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from lmablate.errors import UserError
from lmablate.evidence import Difference, Equality, PartialSample, RankedSample, Sample, SkewedSample
from lmablate.evidence.samples import flip_tail
from tests.evidence.helpers import within_binomial_bound

pairs = st.integers(0, 10_000).map(
    lambda seed: np.random.default_rng(seed).normal(size=(2, 2 + seed % 9)) + seed % 3 / 2
)


@given(pairs=pairs, level=st.sampled_from([0.9, 0.95, 0.99]))
def test_paired_test_and_interval_are_scipys(pairs, level):
    a, b = pairs
    sample = Sample.paired(a, b)
    reference = stats.ttest_rel(a, b)
    assert 2 * min(sample.p_above(0), sample.p_below(0)) == pytest.approx(reference.pvalue)
    assert sample.p_above(0) == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue)
    assert sample.interval(level) == pytest.approx(tuple(reference.confidence_interval(level)))


@given(pairs=pairs, margin=st.floats(0.01, 3))
def test_equivalence_is_statsmodels_tost(pairs, margin):
    a, b = pairs
    assert Sample.paired(a, b).p_within(margin) == pytest.approx(ttost_paired(a, b, -margin, margin)[0])


@pytest.mark.parametrize("kind", [Sample, SkewedSample])
@given(pairs=pairs, margin=st.floats(0.01, 3))
def test_a_contrast_is_decided_where_its_interval_says(kind, pairs, margin):
    sample = kind.of(pairs[0] - pairs[1])
    equality, difference = Equality("x", sample, margin, ()), Difference("x", sample, margin, ())
    low, high = equality.interval
    assert (equality.p_support <= 0.05) == (-margin <= low and high <= margin)
    outside = sample.interval(0.975)
    assert (equality.p_against <= 0.05) == (outside[0] >= margin or outside[1] <= -margin)
    assert (difference.p_support <= 0.05) == (difference.interval[0] >= 0)
    assert (difference.p_against <= 0.05) == (difference.interval[1] <= 0)


@given(pairs=pairs)
def test_a_choice_among_rates_widens_interval_and_p_value_alike(pairs):
    sample = Sample.paired(*pairs)
    alone, chosen = (Difference("x", sample, 0.0, (), choices=choices) for choices in ((1, 1), (4, 7)))
    assert chosen.p_support == pytest.approx(min(1, 4 * alone.p_support))
    assert chosen.p_against == pytest.approx(min(1, 7 * alone.p_against))
    assert (chosen.p_support <= 0.05) == (chosen.interval[0] >= 0)
    assert (chosen.p_against <= 0.05) == (chosen.interval[1] <= 0)


def test_one_seed_decides_nothing():
    for kind in (Sample, SkewedSample):
        sample = kind.of([0.3])
        assert sample.p_above(0) == sample.p_below(0) == sample.p_within(100) == 1
        assert sample.interval() == (-np.inf, np.inf)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0, 2.0]]])
def test_a_sample_needs_a_list_of_finite_numbers(values):
    with pytest.raises(UserError, match="sample"):
        Sample.of(values)


def test_pairs_must_pair():
    with pytest.raises(UserError, match="2 and 3"):
        Sample.paired([1, 2], [1, 2, 3])


def test_the_interval_covers_the_truth_at_its_level():
    samples = np.random.default_rng(1).normal(0.3, 2, (4000, 4))
    covered = sum(low <= 0.3 <= high for low, high in (Sample.of(x).interval(0.95) for x in samples))
    assert abs(covered - 3800) < 3.3 * np.sqrt(4000 * 0.95 * 0.05)


def test_equivalence_errs_at_most_at_alpha_where_the_difference_equals_the_margin():
    samples = np.random.default_rng(2).normal(0.01, 0.005, (4000, 5))
    errors = sum(Sample.of(x).p_within(0.01) <= 0.05 for x in samples)
    assert within_binomial_bound(errors, 4000, 0.05)
    assert errors > 100, "the test must not be so conservative that it never decides"


# ------------------------------------------------------------------------------------------ no spread at all


@pytest.mark.parametrize("n", [4, 10, 300])
def test_no_event_in_n_seeds_bounds_its_rate_as_statsmodels_does(n):
    none = SkewedSample.of([0.0] * n, (0.0, 1.0))
    assert none.interval(0.95) == pytest.approx(proportion_confint(0, n, 0.05, "beta"))
    assert none.p_below(0.01) == pytest.approx(0.99**n)
    assert none.p_above(0.0) == 1
    assert none.p_above(-0.1) == 0, "a fraction cannot be less"


def test_without_limits_equal_values_show_nothing_about_the_mean():
    same = Sample.of([2.0] * 50)
    assert same.p_above(1) == same.p_below(3) == same.p_within(5) == 1
    assert same.interval() == (-np.inf, np.inf)
    assert Sample.of([0.1 + 0.2, 0.3, 0.3]).is_constant, "rounding errors are no spread"


@pytest.mark.parametrize("seeds", [4, 10, 30])
def test_a_rare_event_is_not_ruled_out_by_seeds_that_had_none(seeds):
    """A fraction of .25 in 5 % of seeds: the mean is .0125, and ten seeds without one are no proof of less than .01."""
    rng = np.random.default_rng(seeds)
    dead = np.where(rng.random((2000, seeds)) < 0.05, 0.25, 0.0)
    wrong = sum(SkewedSample.of(x, (0.0, 1.0)).p_below(0.01) <= 0.025 for x in dead)
    spikes = np.where(rng.random((2000, seeds)) < 0.05, 0.03, 0.0)
    alike = sum(Sample.of(x, (-1.0, 1.0)).p_within(0.001) <= 0.05 for x in spikes)
    assert within_binomial_bound(wrong, 2000, 0.025)
    assert within_binomial_bound(alike, 2000, 0.05)


# ---------------------------------------------------------------------------------------------- flipped signs


@given(values=st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.3, 1.0, 2.0]), min_size=1, max_size=9))
def test_flipped_signs_are_those_of_brute_force(values):
    x = np.array(values)
    sums = [float(np.abs(x) @ signs) for signs in product([-1, 1], repeat=len(x))]
    assert flip_tail(x) == pytest.approx(np.mean([total >= x.sum() - 1e-9 for total in sums]))


def test_flipped_signs_of_many_values_are_scipys_and_near_the_t_test():
    x = np.random.default_rng(0).normal(0.3, 1, 36)
    drawn: Any = stats.permutation_test(
        (x,), np.sum, permutation_type="samples", alternative="greater", n_resamples=20_000
    )
    assert flip_tail(x) == pytest.approx(drawn.pvalue, rel=0.3)
    assert flip_tail(np.tile(x, 2)) == Sample.of(np.tile(x, 2)).p_above(0)


@pytest.mark.parametrize("n", [4, 8, 10])
def test_values_with_two_modes_are_not_trusted_to_be_normal(n):
    """A difference of +-1, as of a model that trains or does not: the t test takes few equal signs for certainty."""
    rng = np.random.default_rng(n)
    differences = rng.choice([-1.0, 1.0], (4000, n)) + rng.normal(0, 0.02, (4000, n))
    by_t, exact = (
        sum(min(s.p_above(0), s.p_below(0)) <= 0.00125 for s in (Sample(tuple(x), exact=exact) for x in differences))
        for exact in (False, True)
    )
    assert within_binomial_bound(exact, 4000, 0.0025)
    assert n > 8 or by_t > 2 * exact


# ------------------------------------------------------------------------------------------------------- skew


@pytest.mark.parametrize("n", [2, 4, 8, 10, 32])
@pytest.mark.parametrize("shape", [1.0, (2 / 1.8) ** 2, 4.0, 100.0])
def test_a_skew_up_to_that_of_the_exponential_distribution_does_no_harm(n, shape):
    values = np.random.default_rng(n).gamma(shape, size=(100_000, n))
    for level in (0.025, 0.00125):
        short, long = ((SkewedSample.tails(sign * values, sign * shape) <= level).mean() * 100_000 for sign in (1, -1))
        assert within_binomial_bound(int(short), 100_000, level)
        assert within_binomial_bound(int(long), 100_000, level)


def test_the_t_test_errs_where_the_skewed_one_does_not():
    values = np.random.default_rng(0).exponential(size=(100_000, 10))
    assert (Sample.tails(-values, -1.0) <= 0.00125).mean() > 10 * 0.00125


@given(seed=st.integers(0, 10_000), n=st.integers(2, 12))
def test_a_skewed_sample_is_never_surer_than_the_t_test_and_decides_where_its_interval_says(seed, n):
    sample = SkewedSample.of(np.random.default_rng(seed).normal(1, 0.1 if seed % 2 else 1, n))
    assert sample.p_above(0) >= Sample(sample.values).p_above(0)
    low, high = sample.interval(0.95)
    assert sample.p_above(low) == pytest.approx(0.025, rel=0.02)
    assert sample.p_below(high) == pytest.approx(0.025, rel=0.02)


# ---------------------------------------------------------------------------------------------- diverged runs


@given(seed=st.integers(0, 1000), n=st.integers(3, 12))
def test_ranked_values_are_scipys_signed_ranks(seed, n):
    x = np.random.default_rng(seed).normal(0.3, 1, n)
    sample = RankedSample.of(x)
    assert sample.p_above(0) == pytest.approx(stats.wilcoxon(x, alternative="greater", method="exact")[1])
    assert sample.mean == pytest.approx(np.median([(a + b) / 2 for i, a in enumerate(x) for b in x[i:]]))
    low, high = sample.interval(0.9)
    assert sample.p_above(low - 1e-9) <= 0.05 or low == -np.inf
    assert sample.p_above(low + 1e-9) > 0.05
    assert sample.p_below(high - 1e-9) > 0.05


def test_a_diverged_run_is_the_worst_rank_and_has_no_size():
    x = [0.1, -0.2, 0.3, np.inf, 0.4, 0.2]
    larger = RankedSample((*x[:3], 1e6, *x[4:]))
    assert RankedSample(tuple(x)).p_above(0) == larger.p_above(0)
    assert np.isfinite(RankedSample(tuple(x)).mean)
    assert RankedSample((np.inf,) * 5).mean == np.inf
    assert RankedSample((np.inf,) * 5).p_above(0) == 1 / 32
    assert RankedSample((0.0,) * 5).p_above(0) == RankedSample((0.0,) * 5).p_below(0) == 1
    assert RankedSample(tuple(x)).p_within(100) == 1


def test_what_is_missing_may_be_anything_within_the_limits():
    values = [0.9, 0.8, 0.85, 0.9]
    complete, partial = Sample.of(values, (0.0, 1.0)), PartialSample(tuple(values), (0.0, 1.0), missing=2)
    assert partial.p_above(0.3) == Sample.of([*values, 0.0, 0.0], (0.0, 1.0)).p_above(0.3) > complete.p_above(0.3)
    assert partial.p_below(0.99) == Sample.of([*values, 1.0, 1.0], (0.0, 1.0)).p_below(0.99)
    assert partial.interval()[0] < complete.interval()[0]
    unlimited = PartialSample(tuple(values), missing=1)
    assert unlimited.p_above(0) == unlimited.p_within(9) == 1
    assert unlimited.interval() == (-np.inf, np.inf)
