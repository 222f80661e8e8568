"""Numbers in, verdicts out: matching of arms, paired statistics, and the claims that they decide."""

from lmablate.evidence.matching import Shape, reference_shape, solve_d_ff
from lmablate.evidence.statistics import (
    Sample,
    compare_late_slopes,
    holm,
    late_slope,
    learning_rate_sensitivity,
    power,
    seeds_needed,
    seeds_needed_for_equivalence,
    slope,
    spike_score,
    variance_ratio,
)

__all__ = [
    "Sample",
    "Shape",
    "compare_late_slopes",
    "holm",
    "late_slope",
    "learning_rate_sensitivity",
    "power",
    "reference_shape",
    "seeds_needed",
    "seeds_needed_for_equivalence",
    "slope",
    "solve_d_ff",
    "spike_score",
    "variance_ratio",
]
