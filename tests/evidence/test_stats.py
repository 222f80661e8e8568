"""Every statistic against scipy, statsmodels or brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lmablate.errors import UserError
from lmablate.evidence import (
    holm,
    learning_rate_sensitivity,
    power,
    slope,
    spike_score,
)


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_holm_is_statsmodels(size):
    p_values = np.random.default_rng(size).choice([0, 0.001, 0.01, 0.04, 0.3, 1], size)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_of_no_test_is_empty():
    assert holm([]).size == 0


@pytest.mark.parametrize(("effect", "sd", "n", "alpha"), [(0.5, 1, 10, 0.025), (1, 0.7, 3, 0.05), (0, 1, 5, 0.05)])
def test_power_is_statsmodels(effect, sd, n, alpha):
    reference = TTestPower().power(effect / sd, n, alpha, alternative="larger")
    assert power(effect, sd, n, alpha) == pytest.approx(reference)


@given(seed=st.integers(0, 1000))
def test_slopes_are_scipys(seed):
    rng = np.random.default_rng(seed)
    steps, losses = np.arange(0, 1000, 10), rng.normal(size=100).cumsum()
    assert slope(steps, losses) == pytest.approx(stats.linregress(steps, losses)[0])


def test_a_slope_needs_two_positions():
    with pytest.raises(UserError, match="two different"):
        slope([3, 3], [1, 2])


def brute_force_spike_score(values: np.ndarray, window: int, sigmas: float) -> float:
    spikes = 0
    for i in range(window, len(values)):
        history = [v for v in values[i - window : i] if np.isfinite(v)]
        inside = bool(history) and abs(values[i] - np.mean(history)) <= sigmas * np.std(history)
        spikes += not inside
    return spikes / (len(values) - window)


@given(seed=st.integers(0, 1000), window=st.integers(5, 40), sigmas=st.floats(1, 7))
def test_spike_score_is_the_brute_force_one(seed, window, sigmas):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(2, size=120)
    values[rng.random(120) < 0.05] = np.nan
    assert spike_score(values, window, sigmas) == brute_force_spike_score(values, window, sigmas)


def test_spike_score_counts_spikes_in_a_falling_curve_and_none_without():
    rng = np.random.default_rng(0)
    losses = 3 + np.exp(-np.arange(2000) / 300) + rng.normal(0, 0.02, 2000)
    assert spike_score(losses) == 0
    losses[[500, 900, 1500]] += 1
    assert spike_score(losses) == pytest.approx(3 / 1900)
    losses[600:] = np.nan
    assert spike_score(losses) > 0.7


def test_spike_score_needs_more_points_than_its_window():
    with pytest.raises(UserError, match="window of 100"):
        spike_score(np.zeros(100))


def test_learning_rate_sensitivity_is_the_mean_capped_loss_above_the_best():
    assert learning_rate_sensitivity([3.0, 2.0, 4.0], 10.0) == pytest.approx(1.0)
    assert learning_rate_sensitivity([2.0, 2.0, 2.0], 10.0) == 0
    diverged = learning_rate_sensitivity([2.0, float("nan"), 50.0], 10.0)
    assert diverged == pytest.approx((2 + 10 + 10) / 3 - 2)
