"""Smoothing is the weighted mean that defines it, and thinning keeps extremes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmablate.results.plots.smooth import envelope, two_sided_ema

VALUES = st.lists(st.floats(-100, 100) | st.just(float("nan")), min_size=1, max_size=40)


@given(VALUES, st.integers(0, 2**32 - 1), st.floats(0.005, 20))
def test_two_sided_ema_is_the_weighted_mean_that_it_claims(values: list[float], seed: int, half: float) -> None:
    steps = np.cumsum(np.random.default_rng(seed).integers(1, 5, len(values)))
    y = np.array(values)
    weights = 0.5 ** (np.abs(steps[:, None] - steps[None, :]) / half) * np.isfinite(y)
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        expected = np.where(total > 0, (weights @ np.nan_to_num(y)) / total, np.nan)
    np.testing.assert_allclose(two_sided_ema(steps, y, half), expected, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 300), st.floats(0.01, 20), st.integers(0, 2**32 - 1))
def test_runs_are_smoothed_side_by_side_as_they_are_alone(n: int, half: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, values = np.cumsum(rng.integers(1, 50, n)), rng.standard_normal((n, 3))
    values[rng.random((n, 3)) < 0.2] = np.nan
    together = two_sided_ema(steps, values, half)
    for run in range(3):
        np.testing.assert_array_equal(together[:, run], two_sided_ema(steps, values[:, run], half))


@given(st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_the_envelope_keeps_extremes_and_order(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(n)
    steps, kept = envelope(np.arange(n), values, points=100)
    assert len(kept) <= max(200, min(n, 200))
    assert kept.max() == values.max()
    assert kept.min() == values.min()
    np.testing.assert_array_equal(values[steps], kept)
    assert np.all(np.diff(steps) > 0)
