"""Labels do not overlap, and move as little as possible."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lmablate.results.plots.labels import spread_apart


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_labels_move_as_little_as_possible(heights: list[float]) -> None:
    placed = np.array(spread_apart(heights, 0.1))
    order = np.argsort(heights, kind="stable")
    assert np.all(np.diff(placed[order]) >= 0.1 - 1e-9)
    wanted = np.array(heights)[order]
    assert placed.min() >= 0
    assert placed.max() <= 1
    apart = [{"type": "ineq", "fun": lambda x, i=i: x[i + 1] - x[i] - 0.1} for i in range(len(heights) - 1)]
    start = np.arange(len(heights)) * 0.1
    best = minimize(
        lambda x: ((x - wanted) ** 2).sum(), start, constraints=apart, method="SLSQP", bounds=[(0, 1)] * len(heights)
    )
    assert ((placed[order] - wanted) ** 2).sum() <= best.fun + 1e-6
