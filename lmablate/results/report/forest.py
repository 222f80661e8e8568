"""Positions for the page's SVG: a verdict's effect and interval, and the chance that more seeds decide it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmablate.evidence import Verdict

# Size of the drawing, and its margin on the left and right, in CSS pixels.
WIDTH, HEIGHT = 168.0, 22.0
EDGE = 8.0
# Heights of a chance of 0 and of 1 in the drawing of chances.
FLOOR, CEILING = 44.0, 4.0
# The height of the chance with which the page says how many seeds are needed.
LIKELY = FLOOR - 0.8 * (FLOOR - CEILING)


@dataclass(frozen=True)
class ForestRow:
    """Horizontal positions, in CSS pixels.

    Attributes:
        zero: position of an effect of zero.
        margin: ends of the band of effects that are smaller than the margin.
        interval: ends of the interval.
        effect: position of the effect.
        cut: whether the interval extends beyond the drawing on the left, and on the right.
    """

    zero: float
    margin: tuple[float, float]
    interval: tuple[float, float]
    effect: float
    cut: tuple[bool, bool]


def forest_row(verdict: Verdict) -> ForestRow | None:
    """Return the positions for a verdict; None if nothing was measured, or if the effect has no size.

    Every claim has its own unit, so every row has its own scale. It is symmetric about zero and holds the interval,
    or, if that is very wide, six times the effect or the margin.
    """
    if not verdict.n or not math.isfinite(verdict.effect):
        return None
    core = 6 * max(abs(verdict.effect), verdict.margin) or 1.0
    wanted = max(abs(verdict.low), abs(verdict.high), abs(verdict.effect), verdict.margin)
    reach = min(wanted, core) if math.isfinite(wanted) else core
    half = WIDTH / 2 - EDGE

    def position(value: float) -> float:
        return round(WIDTH / 2 + half * max(-1.0, min(1.0, value / reach)), 2)

    return ForestRow(
        zero=position(0),
        margin=(position(-verdict.margin), position(verdict.margin)),
        interval=(position(verdict.low), position(verdict.high)),
        effect=position(verdict.effect),
        cut=(verdict.low < -reach, verdict.high > reach),
    )


def chance_points(chances: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return where the chances of a verdict lie: to the right by the logarithm of the number of seeds, and upwards.

    Args:
        chances: (number of seeds, chance), in ascending order.
    """
    logs = [math.log(n) for n, _ in chances]
    span = logs[-1] - logs[0] or 1.0
    across = [EDGE + (WIDTH - 2 * EDGE) * (log - logs[0]) / span for log in logs]
    heights = [FLOOR - (FLOOR - CEILING) * chance for _, chance in chances]
    return [(round(x, 1), round(y, 1)) for x, y in zip(across, heights, strict=True)]
