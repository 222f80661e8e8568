"""A line of the forest plot stays inside its drawing, with its marks in the order of their values."""

from itertools import pairwise

from lmablate.evidence import Kind, Verdict
from lmablate.results.report.forest import EDGE, WIDTH, forest_row


def test_effect_and_interval_keep_their_order_and_stay_inside(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        drawn = forest_row(verdict)
        if drawn is None:
            assert verdict.kind == Kind.NOT_RUN
            continue
        ordered = (EDGE, drawn.interval[0], drawn.effect, drawn.interval[1], WIDTH - EDGE)
        assert all(left <= right for left, right in pairwise(ordered))
        assert (drawn.effect > drawn.zero) == (verdict.effect > 0) or abs(drawn.effect - drawn.zero) < 0.01
