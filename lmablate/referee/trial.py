"""A comparison of arms: add seeds look by look until each question is decided, or the last look is over.

The first arm is compared with each other one, on the same seeds. The rule for one comparison, at level alpha:

    better       the first arm's true mean is better, and its measured one by at least the margin
    worse        the other way round
    equivalent   the true difference is smaller than the margin, by two one-sided tests
    open         none of these

The p-values are those of `lmablate.evidence.looks`, valid at whichever look one stops, and adjusted by Holm's method
over the comparisons. So P(any false better or worse) <= alpha, and P(any false equivalent) <= alpha. A diverged run
counts as the worst: with one in a comparison the exact signed-rank test decides, and nothing is called equivalent.

The t test takes paired differences for normal. Where they are far from that, such as where some runs train and others
do not, `exact` rules keep the promise, and need eight seeds at least.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lmablate.errors import UserError
from lmablate.evidence import RankedSample, Sample, holm
from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.evidence.unpaired import UnpairedSample
from lmablate.evidence.worst_ranks import worst_differences

# Names of the three p-values of a comparison.
P_NAMES = ("better", "worse", "equivalent")
# Costs of an arm on the seeds 0 to n - 1 of the plan: the metric, with its sign changed if higher is better; NaN if a
# run diverged.
Costs = NDArray[np.float64]
Measure = Callable[[Sequence[str], int], Mapping[str, Costs]]


class Ruling(StrEnum):
    """What is known about the first arm of a comparison."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    OPEN = "open"


@dataclass(frozen=True)
class Rules:
    """What is fixed before the first run.

    Attributes:
        plan: the looks.
        margin: smallest difference of interest, in the metric's unit; 0 if none is.
        alpha: the error rate.
        exact: whether exact signed ranks take the place of the t test. They assume no normal distribution.
    """

    plan: LookPlan
    margin: float = 0.0
    alpha: float = 0.05
    exact: bool = False


@dataclass(frozen=True)
class ArmComparison:
    """The first arm beside another one, after some looks.

    Attributes:
        first: name of the first arm.
        other: name of the other one.
        ruling: what is known.
        effect: by how much the first arm is better, on average; NaN if a run diverged.
        low: lower end of the interval of the effect, which is valid at whichever look one stops.
        high: its upper end.
        level: its coverage, before it was widened for the looks.
        p: the p-values by name, after all corrections.
        n: seeds per arm.
        diverged: runs of each of the two that diverged.
        identical: whether the two gave the same value on each seed.
    """

    first: str
    other: str
    ruling: Ruling = Ruling.OPEN
    effect: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    level: float = 0.95
    p: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(P_NAMES, 1.0))
    n: int = 0
    diverged: tuple[int, int] = (0, 0)
    identical: bool = False


class ConstantArm(UserError):
    """Every run of an arm has the same value."""


def run_trial(
    arms: Sequence[str],
    rules: Rules,
    measure: Measure,
    log: LookLog,
    goes_on: Callable[[int, Sequence[ArmComparison]], bool] = lambda look, comparisons: True,
) -> list[ArmComparison]:
    """Compare the first arm with each other one, look by look.

    Args:
        arms: names of the arms.
        rules: what was fixed beforehand.
        measure: returns the costs of some arms on the first n seeds; it runs what has not been run.
        log: where the looks are stored.
        goes_on: asked before each look but the first, with its number of seeds and the comparisons that are open.

    Returns:
        One comparison per other arm.

    Raises:
        ConstantArm: if all seeds of an arm gave the same value, so they are no sample.
    """
    first, *others = arms
    found = {other: ArmComparison(first, other, level=1 - rules.alpha) for other in others}
    for look in rules.plan.looks:
        unsettled = [other for other in others if found[other].ruling == Ruling.OPEN]
        if not unsettled or (look > rules.plan.looks[0] and not goes_on(look, [found[other] for other in unsettled])):
            break
        costs = measure([first, *unsettled], look)
        _refuse_constants(costs)
        for other in unsettled:
            seen_now = look_at_pairs(costs[first], costs[other], rules)
            log.record(other, look, dict(zip(P_NAMES, seen_now.p_values, strict=True)))
            same = bool(np.array_equal(costs[first], costs[other]))
            found[other] = replace(seen_now.shown_in(found[other]), n=look, identical=same)
        _rule(found, rules, log)
    return list(found.values())


@dataclass(frozen=True)
class LookResult:
    """What one look at one comparison shows."""

    p_values: tuple[float, float, float]
    effect: float
    interval: tuple[float, float]
    diverged: tuple[int, int]

    def shown_in(self, comparison: ArmComparison) -> ArmComparison:
        """Return the comparison with what this look shows, before a ruling."""
        low, high = self.interval
        return replace(comparison, effect=self.effect, low=low, high=high, diverged=self.diverged)


def look_at_pairs(first: Costs, other: Costs, rules: Rules) -> LookResult:
    """Return what runs of the same seeds show; NaN is the cost of a diverged run."""
    diverged = (int((~np.isfinite(first)).sum()), int((~np.isfinite(other)).sum()))
    ranks = RankedSample(tuple(worst_differences(first, other)))
    if any(diverged):
        return LookResult((*_p_of(ranks), 1.0), math.nan, (-math.inf, math.inf), diverged)
    look = judge_sample(Sample.paired(other, first), rules)
    alike = max(ranks.p_above(-rules.margin), ranks.p_below(rules.margin)) if rules.margin > 0 else 1.0
    return replace(look, p_values=(*_p_of(ranks), alike)) if rules.exact else look


def _p_of(ranks: RankedSample) -> tuple[float, float]:
    """Return the p-values for better and for worse, in two-sided units."""
    return min(1.0, 2 * ranks.p_above(0)), min(1.0, 2 * ranks.p_below(0))


def judge_sample(sample: Sample | UnpairedSample, rules: Rules) -> LookResult:
    """Return what the sample of an effect shows, which is positive if the first arm is better."""
    p_values = (
        min(1.0, 2 * sample.p_above(0)),
        min(1.0, 2 * sample.p_below(0)),
        sample.p_within(rules.margin) if rules.margin > 0 else 1.0,
    )
    return LookResult(p_values, sample.mean, sample.interval(rules.plan.level(1 - rules.alpha)), (0, 0))


def _rule(found: dict[str, ArmComparison], rules: Rules, log: LookLog) -> None:
    """Adjust the p-values of all comparisons, and rule on those that are open."""
    p_values = {other: log.p(other) for other in found}
    adjusted = {name: holm([p[name] for p in p_values.values()]) for name in P_NAMES}
    for i, (other, comparison) in enumerate(found.items()):
        if comparison.ruling == Ruling.OPEN:
            p = {name: float(adjusted[name][i]) for name in P_NAMES}
            found[other] = replace(comparison, p=p, ruling=ruling_of(p, comparison.effect, rules))


def ruling_of(p: Mapping[str, float], effect: float, rules: Rules) -> Ruling:
    """Return what p-values, after all corrections, and a measured effect say; the effect is NaN if a run diverged."""
    if p["better"] <= rules.alpha and not effect < rules.margin:
        return Ruling.BETTER
    if p["worse"] <= rules.alpha and not -effect < rules.margin:
        return Ruling.WORSE
    return Ruling.EQUIVALENT if p["equivalent"] <= rules.alpha else Ruling.OPEN


def _refuse_constants(costs: Mapping[str, Costs]) -> None:
    for arm, values in costs.items():
        if np.isfinite(values).all() and np.ptp(values) == 0:
            raise ConstantArm(
                f"{arm} gave one and the same value for each of {values.size} seeds: either its seed has no effect, so "
                "that its runs are one sample, or the metric is saturated; no verdict can rest on that."
            )
