"""A verdict's effect and interval as a line of a forest plot: numbers for the page's SVG."""

import math
from dataclasses import dataclass

from lmablate.evidence import Verdict

WIDTH, HEIGHT = 168.0, 22.0
"""Of the drawing, in CSS pixels."""
EDGE = 8.0


@dataclass(frozen=True)
class Forest:
    """Horizontal positions in pixels; `cut` says on which sides the interval goes on beyond the drawing."""

    zero: float
    margin: tuple[float, float]
    interval: tuple[float, float]
    effect: float
    cut: tuple[bool, bool]


def forest(verdict: Verdict) -> Forest | None:
    """None where nothing was measured.

    Every claim has a unit of its own, so every row has a scale of its own: symmetric about zero, wide enough for
    the interval, or, where that is very wide, for six times the effect or the margin.
    """
    if not verdict.n:
        return None
    core = 6 * max(abs(verdict.effect), verdict.margin) or 1.0
    wanted = max(abs(verdict.low), abs(verdict.high), abs(verdict.effect), verdict.margin)
    reach = min(wanted, core) if math.isfinite(wanted) else core
    half = WIDTH / 2 - EDGE

    def at(value: float) -> float:
        return round(WIDTH / 2 + half * max(-1.0, min(1.0, value / reach)), 2)

    return Forest(
        zero=at(0),
        margin=(at(-verdict.margin), at(verdict.margin)),
        interval=(at(verdict.low), at(verdict.high)),
        effect=at(verdict.effect),
        cut=(verdict.low < -reach, verdict.high > reach),
    )
