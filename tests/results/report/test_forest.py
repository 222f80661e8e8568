"""A line of the forest plot stays inside its drawing, with its marks in the order of their values."""

from itertools import pairwise

from lmablate.evidence import Kind, Verdict
from lmablate.results.report.forest import CEILING, EDGE, FLOOR, WIDTH, chance_points, forest_row


def test_effect_and_interval_keep_their_order_and_stay_inside(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        drawn = forest_row(verdict)
        if drawn is None:
            assert verdict.kind == Kind.NOT_RUN
            continue
        ordered = (EDGE, drawn.interval[0], drawn.effect, drawn.interval[1], WIDTH - EDGE)
        assert all(left <= right for left, right in pairwise(ordered))
        assert (drawn.effect > drawn.zero) == (verdict.effect > 0) or abs(drawn.effect - drawn.zero) < 0.01


def test_chances_lie_by_the_logarithm_of_the_seeds_and_by_their_size() -> None:
    points = chance_points([(8, 0.0), (16, 0.5), (32, 1.0)])
    assert points == [(EDGE, FLOOR), (WIDTH / 2, (FLOOR + CEILING) / 2), (WIDTH - EDGE, CEILING)]
    assert chance_points([(8, 0.25)]) == [(EDGE, FLOOR - (FLOOR - CEILING) / 4)]
