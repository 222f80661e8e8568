"""Verdicts on claims: each is measured on the runs, and all are judged together by the rule of `rule`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from lmablate.errors import UserError
from lmablate.evidence.claims import Claim
from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.planning import SHOWN, seeds_for_verdict, verdict_probability
from lmablate.evidence.rule import Decision, Kind, decide
from lmablate.evidence.sentences import verdict_sentence
from lmablate.evidence.tables import NotMeasured, RunTable


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
        normal_tails: whether the verdict rests on the assumption that seeds differ normally.
        diverged: number of the runs used that diverged.
        seeds_needed: number of seeds with which an open claim is decided with probability 0.8 (see `planning`); None
            if it is decided, if that is unknown, or if no feasible number would do.
        chances: (number of seeds, probability of a verdict) of an open claim.
        runs: ids of all runs used.
        parts: what is known of each contrast of the claim, in a family of all contrasts of all claims.
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
    normal_tails: bool = False
    diverged: int = 0
    seeds_needed: int | None = None
    chances: tuple[tuple[int, float], ...] = ()
    runs: tuple[str, ...] = ()
    parts: tuple[Decision, ...] = ()

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """All contrasts of the claim."""
        return tuple(part.contrast for part in self.parts)

    def row(self) -> dict[str, Any]:
        """Return the verdict as one row of a table, without the parts and with run ids joined as a shell would."""
        hidden = ("claim", "parts", "runs", "chances")
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        return {"id": self.claim.id, "text": self.claim.text, **shown, "runs": shlex.join(self.runs)}


@dataclass(frozen=True)
class Measurement:
    """What the runs say of one claim, before it is judged.

    Attributes:
        claim: the claim.
        runs: the runs.
        contrasts: its contrasts; none if something is missing.
        absent: what is missing; empty if nothing is.
    """

    claim: Claim
    runs: RunTable
    contrasts: tuple[Contrast, ...] = ()
    absent: str = ""


def measure_claim(claim: Claim, runs: RunTable) -> Measurement:
    """Measure a claim on runs.

    Raises:
        UserError: if its arms are ambiguous.
    """
    try:
        return Measurement(claim, runs, tuple(claim.measure(runs)))
    except NotMeasured as reason:
        return Measurement(claim, runs, absent=str(reason))
    except UserError as error:
        raise UserError(f"Claim {claim.id}: {error}") from None


def judge_claims(claims: Sequence[Claim], runs: RunTable, alpha: float = 0.05) -> list[Verdict]:
    """Return one verdict per claim, in the claims' order, by the rule of this module.

    Args:
        claims: the family of claims.
        runs: the runs that decide them.
        alpha: the error rate that the rule guarantees.

    Raises:
        UserError: if the arms of a claim are ambiguous.
    """
    return judge_measured([measure_claim(claim, runs) for claim in claims], alpha)


def judge_measured(
    measurements: Sequence[Measurement], alpha: float = 0.05, absent_count: bool = False
) -> list[Verdict]:
    """Return one verdict per measured claim, in their order.

    Args:
        measurements: the family.
        alpha: the error rate that the rule guarantees.
        absent_count: whether claims that could not be measured count in the family, as they must if they were fixed
            before and may be measured later.
    """
    measured = [m for m in measurements if not m.absent]
    absent = len(measurements) - len(measured) if absent_count else 0
    decisions = iter(decide([m.contrasts for m in measured], alpha, absent))
    parts = iter(decide([[contrast] for m in measured for contrast in m.contrasts], alpha, absent))
    level = alpha / (len(measured) + absent) if measured else alpha
    return [
        Verdict(m.claim, Kind.NOT_RUN, f"Not run: {m.absent}.")
        if m.absent
        else _state(m, next(decisions), tuple(next(parts) for _ in m.contrasts), alpha, level)
        for m in measurements
    ]


def _state(m: Measurement, decision: Decision, parts: tuple[Decision, ...], alpha: float, level: float) -> Verdict:
    """Return the verdict for a decision, with the number of seeds that a test at `level` would need."""
    claim, runs = m.claim, m.runs
    contrast, contrasts = decision.contrast, [part.contrast for part in parts]
    used = sorted({run for c in contrasts for run in c.runs})
    low, high = contrast.interval
    seeds, chances = None, ()
    if decision.kind == Kind.UNDERPOWERED:
        level /= contrast.looks
        seeds = seeds_for_verdict(contrasts, level)
        later = {n: verdict_probability(contrasts, n, level) for n in SHOWN if n > contrast.sample.n}
        chances = tuple((n, chance) for n, chance in later.items() if chance is not None)
    return Verdict(
        claim,
        decision.kind,
        verdict_sentence(decision, parts, alpha, seeds, bool(chances)) + contrast.note + _left_out(claim, runs),
        effect=contrast.sample.mean,
        low=low,
        high=high,
        level=contrast.level,
        margin=contrast.margin,
        n=contrast.sample.n,
        p=decision.p,
        p_adjusted=decision.p_adjusted,
        normal_tails=decision.normal_tails,
        diverged=sum(runs.diverged_at(run) < inf for run in used),
        seeds_needed=seeds,
        chances=chances,
        runs=tuple(used),
        parts=parts,
    )


def _left_out(claim: Claim, runs: RunTable) -> str:
    """Return a warning about runs that were not used, since an arm whose runs fail may look better than it is."""
    counts = runs.left_out(claim.experiments)
    if not counts:
        return ""
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f" Runs of its experiments that are not finished are left out ({listed}): run them again, or to their end."
