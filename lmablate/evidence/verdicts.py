"""Verdicts on claims, the rule that makes them, and the error rate that it guarantees.

All claims are judged together, as one family. Otherwise twenty tests at 5 % each would be likely to find something
even if nothing differed.

**The rule.** A claim rests on one or more contrasts (see `contrasts`) and needs all of them. The p-values of the
contrasts, each in two-sided units, give three p-values of the claim:

    support     the largest over the contrasts: an intersection-union test, which needs no correction
                (Berger 1982, Technometrics 24, 295)
    against     the smallest over the contrasts, times their number (Bonferroni): any one contrast can refute
    equivalent  likewise: it is enough that one claimed difference is shown to be negligible

Each of the three is adjusted by Holm's method over all claims that were measured. At alpha = 0.05 a claim is then

    SUPPORTED     if support <= alpha, and each claimed difference, as measured, is at least the margin;
    REFUTED       if against <= alpha: the contrary of one of its contrasts is shown;
    EQUIVALENT    if equivalent <= alpha: two one-sided tests show that a difference that it claims is smaller than the
                  margin, the smallest effect of interest. If one contrast satisfies both this and REFUTED, the verdict
                  is EQUIVALENT: the difference has the wrong sign, but is too small to matter;
    UNDERPOWERED  otherwise: the runs do not decide, and the verdict says how many seeds would;
    NOT RUN       if runs or metrics that it needs are missing; such a claim does not count in the family.

**What is controlled.** Claims share runs, so their tests depend on each other. Whatever this dependence, over the
whole table of verdicts

    P(any false SUPPORTED of a difference, or any false REFUTED) <= alpha, with alpha/2 for each of the two;
    P(any false EQUIVALENT) <= alpha, and P(any false SUPPORTED of an equality) <= alpha.

The t tests assume that seeds are independent and that paired differences are roughly normal.

**What is not controlled.** Claims and margins chosen after seeing the runs; seeds added until a verdict appears; and
whether what is true of a small model is true of a large one. The interval that a verdict shows belongs to its deciding
contrast alone, at 95 % for a difference and 90 % for an equality, and is not adjusted for the family.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from lmablate.errors import UserError
from lmablate.evidence.claims import Claim
from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.stats import holm
from lmablate.evidence.tables import NotMeasured, RunTable


class Kind(StrEnum):
    """The five kinds of verdict; the docstring of this module defines them."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    EQUIVALENT = "EQUIVALENT"
    UNDERPOWERED = "UNDERPOWERED"
    NOT_RUN = "NOT RUN"


@dataclass(frozen=True)
class Decision:
    """The result of the rule for one claim.

    Attributes:
        kind: the kind of verdict.
        contrast: the contrast that decides it.
        p: the claim's own p-value that led to it; if UNDERPOWERED, the smaller of those for and against.
        p_adjusted: the same after Holm's adjustment.
    """

    kind: Kind
    contrast: Contrast
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    Attributes:
        claim: the claim.
        kind: the kind of verdict.
        sentence: the verdict in words.
        effect: mean effect of the deciding contrast, in the reading's unit. It is positive on the claimed side; for an
            equality it is the difference itself.
        low: lower end of the t interval of that effect.
        high: upper end of that interval.
        level: coverage of that interval.
        margin: the smallest effect of interest of that contrast.
        n: number of seeds, or pairs of runs, of that contrast.
        p: the claim's own p-value that led to the verdict.
        p_adjusted: the same after Holm's adjustment.
        seeds_needed: number of seeds that would decide every contrast with power 0.8, at level alpha divided by the
            number of claims; None if unknown, or if no feasible number would do.
        runs: ids of all runs used.
        contrasts: all contrasts of the claim.
    """

    claim: Claim
    kind: Kind
    sentence: str
    effect: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    level: float = float("nan")
    margin: float = float("nan")
    n: int = 0
    p: float = float("nan")
    p_adjusted: float = float("nan")
    seeds_needed: int | None = None
    runs: tuple[str, ...] = ()
    contrasts: tuple[Contrast, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return the verdict as one row of a table, without the contrasts and with run ids joined as a shell would."""
        hidden = ("claim", "contrasts", "runs")
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        return {"id": self.claim.id, "text": self.claim.text, **shown, "runs": shlex.join(self.runs)}


def judge_claims(claims: Sequence[Claim], runs: RunTable, alpha: float = 0.05) -> list[Verdict]:
    """Return one verdict per claim, in the claims' order, by the rule of this module.

    Args:
        claims: the family of claims.
        runs: the runs that decide them.
        alpha: the error rate that the rule guarantees.

    Raises:
        UserError: if the arms of a claim are ambiguous.
    """
    measured: dict[str, list[Contrast]] = {}
    absent: dict[str, str] = {}
    for claim in claims:
        try:
            measured[claim.id] = claim.measure(runs)
        except NotMeasured as reason:
            absent[claim.id] = str(reason)
        except UserError as error:
            raise UserError(f"Claim {claim.id}: {error}") from None
    decisions = dict(zip(measured, decide(list(measured.values()), alpha), strict=True))
    return [
        Verdict(claim, Kind.NOT_RUN, f"Not run: {absent[claim.id]}.")
        if claim.id in absent
        else _state(claim, measured[claim.id], decisions[claim.id], alpha / len(measured), runs)
        for claim in claims
    ]


def decide(claims: Sequence[Sequence[Contrast]], alpha: float = 0.05) -> list[Decision]:
    """Apply the rule of this module to a family of claims.

    Args:
        claims: the contrasts of each claim.
        alpha: the error rate that the rule guarantees.

    Returns:
        One decision per claim, in the same order.
    """
    p_values = [
        (
            max(c.p_support for c in contrasts),
            min(1.0, len(contrasts) * min(c.p_against for c in contrasts)),
            min(1.0, len(contrasts) * min(c.p_equivalent for c in contrasts)),
        )
        for contrasts in claims
    ]
    adjusted = zip(*(holm(column) for column in zip(*p_values, strict=True)), strict=True)
    return [_decide_one(*of_claim, alpha) for of_claim in zip(claims, p_values, adjusted, strict=True)]


def _decide_one(
    contrasts: Sequence[Contrast],
    p_values: tuple[float, float, float],
    adjusted: tuple[float, float, float],
    alpha: float,
) -> Decision:
    support, against, equivalent = (float(p) for p in adjusted)
    weakest = max(contrasts, key=lambda c: (c.p_support, -c.sample.mean))
    opposed = min(contrasts, key=lambda c: c.p_against)
    alike = min(contrasts, key=lambda c: c.p_equivalent)
    if support <= alpha and all(c.large_enough for c in contrasts):
        return Decision(Kind.SUPPORTED, weakest, p_values[0], support)
    if against <= alpha and not (equivalent <= alpha and opposed is alike):
        return Decision(Kind.REFUTED, opposed, p_values[1], against)
    if equivalent <= alpha:
        return Decision(Kind.EQUIVALENT, alike, p_values[2], equivalent)
    return Decision(Kind.UNDERPOWERED, weakest, min(p_values[:2]), min(support, against))


def _state(claim: Claim, contrasts: Sequence[Contrast], decision: Decision, alpha: float, runs: RunTable) -> Verdict:
    """Return the verdict for a decision, with the number of seeds that a test at level `alpha` would need."""
    contrast = decision.contrast
    low, high = contrast.interval
    needed = [c.seeds_needed(alpha) for c in contrasts]
    seeds = None if None in needed else max(n for n in needed if n is not None)
    return Verdict(
        claim,
        decision.kind,
        _sentence(decision, len(contrasts), seeds) + contrast.note + _left_out(claim, runs),
        effect=contrast.sample.mean,
        low=low,
        high=high,
        level=contrast.level,
        margin=contrast.margin,
        n=contrast.sample.n,
        p=decision.p,
        p_adjusted=decision.p_adjusted,
        seeds_needed=seeds,
        runs=tuple(sorted({run for c in contrasts for run in c.runs})),
        contrasts=tuple(contrasts),
    )


def _sentence(decision: Decision, contrasts: int, seeds: int | None) -> str:
    """Return the decision in words, with the numbers of the deciding contrast."""
    contrast = decision.contrast
    low, high = contrast.interval
    numbers = (
        f"effect {contrast.sample.mean:+.4g}, {contrast.level:.0%} interval {low:+.4g} to {high:+.4g}, "
        f"n = {contrast.sample.n}, p = {decision.p_adjusted:.2g} after Holm"
    )
    among = f" (the deciding one of {contrasts} contrasts)" if contrasts > 1 else ""
    match decision.kind:
        case Kind.SUPPORTED:
            return f"It holds that {contrast.label}{among}: {numbers}."
        case Kind.REFUTED:
            return f"It does not hold that {contrast.label}{among}: {numbers}."
        case Kind.EQUIVALENT:
            negligible = f"The difference is smaller than {contrast.margin:g} where it is claimed that"
            return f"{negligible} {contrast.label}{among}: {numbers}."
        case _:
            return f"It is open whether {contrast.label}{among}: {numbers}; {_remedy(decision, seeds)}."


def _remedy(decision: Decision, seeds: int | None) -> str:
    n = decision.contrast.sample.n
    if seeds is None:
        return "two seeds or more would show the spread" if n < 2 else "no number of seeds that is feasible decides"
    if seeds > n:
        return f"about {seeds} seeds would decide"
    return f"the effect is nearer to its margin of {decision.contrast.margin:g} than {n} seeds can tell apart"


def _left_out(claim: Claim, runs: RunTable) -> str:
    """Return a warning about runs that could not be used, since an arm whose runs fail may look better than it is."""
    counts = runs.left_out(claim.experiments)
    if not counts:
        return ""
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f" Runs of its experiments that are not finished are left out: {listed}."
