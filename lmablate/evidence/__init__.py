"""Numbers in, verdicts out: matching of arms, paired statistics, and the claims that they decide."""

from lmablate.evidence.matching import Shape, reference_shape, solve_d_ff

__all__ = ["Shape", "reference_shape", "solve_d_ff"]
