"""The rule that makes verdicts of contrasts, and the error rate that it guarantees.

All claims are judged together, as one family. Otherwise twenty tests at 5 % each would be likely to find something
even if nothing differed.

**The rule.** A claim rests on one or more contrasts (see `contrasts`) and needs all of them. The p-values of the
contrasts, each in two-sided units, give three p-values of the claim:

    support     the largest over the contrasts: an intersection-union test, which needs no correction
                (Berger 1982, Technometrics 24, 295)
    against     the smallest over the contrasts, times their number (Bonferroni): any one contrast can refute
    equivalent  likewise: it is enough that one claimed difference is shown to be negligible

Each of the three is adjusted by Holm's method over all claims that were measured. At alpha = 0.05 a claim is then

    SUPPORTED     if support <= alpha, and each claimed difference, as measured, is at least the margin: it is shown to
                  be larger than 0, and measured, but not shown, to be as large as the margin;
    REFUTED       if against <= alpha: the contrary of one of its contrasts is shown. A contrast of which the next line
                  is shown as well, by its own p-value with the same corrections, does not count here: the difference
                  has the wrong sign, but is too small to matter;
    EQUIVALENT    if equivalent <= alpha: two one-sided tests show that a difference that it claims is smaller than the
                  margin, the smallest effect of interest. A claim of several contrasts then FAILS: A PART IS
                  NEGLIGIBLE, since the others may differ;
    UNDERPOWERED  otherwise: the runs do not decide, and the verdict says why, and how many seeds would;
    NOT RUN       if runs or metrics that it needs are missing; such a claim does not count in the family.

The same rule with each contrast as a claim of its own, all contrasts of all claims in one family, marks the parts of a
claim, so that what is known of an open claim is as sure as a verdict.

**What is controlled.** Claims share runs, so their tests depend on each other. Whatever this dependence, over the
whole table of verdicts

    P(any false SUPPORTED of a difference, or any false REFUTED) <= alpha, with alpha/2 for each of the two;
    P(any false EQUIVALENT) <= alpha, and P(any false SUPPORTED of an equality) <= alpha.

Each holds as far as the test of a sample does (see `samples`): seeds are independent; a reading that nothing is
subtracted from is no more skewed than an exponential one; paired differences are roughly normal. A few seeds cannot
show the last of these. A verdict that would not be reached by the exact sign-flip test *rests on normal tails*, and
says so: for all others the bounds hold without this assumption. docs/evidence.md has the error rates by simulation.

**What is not controlled.** Claims and margins chosen after seeing the runs; seeds added until a verdict appears; and
whether what is true of a small model is true of a large one. The interval that a verdict shows belongs to its deciding
contrast alone, at 95 % for a difference and 90 % for an equality, and is not adjusted for the family.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.stats import holm


class Kind(StrEnum):
    """The kinds of verdict; the docstring of this module defines them."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    EQUIVALENT = "EQUIVALENT"
    PART_NEGLIGIBLE = "FAILS: A PART IS NEGLIGIBLE"
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
        normal_tails: whether it rests on the assumption that seeds differ normally.
    """

    kind: Kind
    contrast: Contrast
    p: float
    p_adjusted: float
    normal_tails: bool = False


def decide(claims: Sequence[Sequence[Contrast]], alpha: float = 0.05, absent: int = 0) -> list[Decision]:
    """Apply the rule of this module to a family of claims.

    Args:
        claims: the contrasts of each claim.
        alpha: the error rate that the rule guarantees.
        absent: number of further claims that count in the family although nothing is measured of them.

    Returns:
        One decision per claim, in the same order.
    """
    by_tails = _decide_all(claims, alpha, absent)
    if all(decision.kind == Kind.UNDERPOWERED for decision in by_tails):
        return by_tails
    exactly = _decide_all([[contrast.exact for contrast in contrasts] for contrasts in claims], alpha, absent)
    return [
        replace(decision, normal_tails=decision.kind not in (Kind.UNDERPOWERED, other.kind))
        for decision, other in zip(by_tails, exactly, strict=True)
    ]


def _decide_all(claims: Sequence[Sequence[Contrast]], alpha: float, absent: int) -> list[Decision]:
    p_values = [
        (
            max(c.p_support for c in contrasts),
            min(1.0, len(contrasts) * min(c.p_against for c in contrasts)),
            min(1.0, len(contrasts) * min(c.p_equivalent for c in contrasts)),
        )
        for contrasts in claims
    ]
    columns = ([*column, *[1.0] * absent] for column in zip(*p_values, strict=True))
    adjusted = zip(*(holm(column)[: len(claims)] for column in columns), strict=True)
    return [_decide_one(*of_claim, alpha) for of_claim in zip(claims, p_values, adjusted, strict=True)]


def _decide_one(
    contrasts: Sequence[Contrast],
    p_values: tuple[float, float, float],
    adjusted: tuple[float, float, float],
    alpha: float,
) -> Decision:
    support, against, equivalent = (float(p) for p in adjusted)
    weakest = max(contrasts, key=lambda c: (c.p_support, -c.sample.mean))
    alike = min(contrasts, key=lambda c: c.p_equivalent)
    opposite = _adjusted_alike([c.p_against for c in contrasts], p_values[1], against)
    small = _adjusted_alike([c.p_equivalent for c in contrasts], p_values[2], equivalent)
    refuting = [(p, c) for p, q, c in zip(opposite, small, contrasts, strict=True) if p <= alpha < q]
    if support <= alpha and all(c.large_enough for c in contrasts):
        return Decision(Kind.SUPPORTED, weakest, p_values[0], support)
    if refuting:
        adjusted_p, opposed = min(refuting, key=lambda pair: pair[0])
        return Decision(Kind.REFUTED, opposed, min(1.0, len(contrasts) * opposed.p_against), adjusted_p)
    if equivalent <= alpha:
        kind = Kind.PART_NEGLIGIBLE if len(contrasts) > 1 else Kind.EQUIVALENT
        return Decision(kind, alike, p_values[2], equivalent)
    return Decision(Kind.UNDERPOWERED, weakest, min(p_values[:2]), min(support, against))


def _adjusted_alike(parts: Sequence[float], own: float, adjusted: float) -> list[float]:
    """Return the p-values of a claim's contrasts, corrected as that of the claim is, which is their smallest."""
    return [len(parts) * p / own * adjusted if own > 0 else p for p in parts]
