"""Claims judged at planned looks: what is decided stops, what is hopeless stops, the rest goes on with more seeds.

The family is fixed before the first look. At each look an open claim is measured on the seeds so far, and each p-value
of its contrasts is corrected as `looks` says. So are the intervals. Then the rule of `rule` judges all claims together,
those that have stopped with what they had when they stopped. No corrected p-value ever rises, so neither does one that
Holm's method adjusts, and what is decided stays decided.

A claim is futile if a verdict at the last look is improbable (see `planning`). That it stops costs no error: its
p-value stands, and the claim is decided after all if fewer others are left to correct for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lmablate.evidence.claims import Claim
from lmablate.evidence.contrasts import Contrast, PValues
from lmablate.evidence.looks import LookLog
from lmablate.evidence.planning import verdict_probability
from lmablate.evidence.rule import Kind
from lmablate.evidence.tables import RunTable
from lmablate.evidence.verdicts import Measurement, Verdict, judge_measured, measure_claim

# A claim is futile if the probability of a verdict at the last look is below this.
FUTILE = 0.05

_SIDES = ("support", "against", "equivalent")
_TESTS = ("t", "exact")


class ClaimState(StrEnum):
    """What becomes of a claim after a look."""

    DECIDED = "decided"
    FUTILE = "futile"
    NOT_RUN = "not run"
    OPEN = "open"


@dataclass(frozen=True)
class Standing:
    """A claim after a look.

    Attributes:
        verdict: the verdict on it.
        progress: whether more seeds are needed.
        look: the number of seeds per arm at the last look at which it was measured.
        chance: the probability of a verdict at the last planned look; None if it is decided, or if that is unknown.
    """

    verdict: Verdict
    progress: ClaimState
    look: int
    chance: float | None = None


class LookJudge:
    """Judges a family of claims look by look.

    Args:
        claims: the family.
        log: the plan, and the p-values of each claim at each look.
        alpha: the error rate of the whole family over all looks.
    """

    def __init__(self, claims: Sequence[Claim], log: LookLog, alpha: float = 0.05) -> None:
        self._log, self._alpha = log, alpha
        self._claims = {claim.id: claim for claim in claims}
        self._measured: dict[str, Measurement] = {}
        self._standings: dict[str, Standing] = {}

    @property
    def open_claims(self) -> list[Claim]:
        """The claims that need more seeds."""
        stopped = {name for name, standing in self._standings.items() if standing.progress != ClaimState.OPEN}
        return [claim for name, claim in self._claims.items() if name not in stopped]

    def look(self, n: int, runs: RunTable) -> list[Standing]:
        """Judge all claims with n seeds per arm, and return how each stands.

        Args:
            n: the number of seeds, which must be the plan's next look.
            runs: the runs with these seeds. Claims that have stopped need no new ones.

        Raises:
            UserError: if it is not the next look, or was made before with other runs.
        """
        going_on = self.open_claims
        measured = {claim.id: measure_claim(claim, runs) for claim in going_on}
        for name, measurement in measured.items():
            self._log.record(name, n, _p_values(measurement.contrasts))
            self._measured[name] = self._corrected(measurement, n)
        verdicts = judge_measured([self._measured[name] for name in self._claims], self._alpha, absent_count=True)
        for name, verdict in zip(self._claims, verdicts, strict=True):
            look = n if name in measured else self._standings[name].look
            was_open = name in measured
            self._standings[name] = self._standing(verdict, look, was_open, n)
        return [self._standings[name] for name in self._claims]

    def _corrected(self, measurement: Measurement, n: int) -> Measurement:
        """Return a measurement whose contrasts know the looks before this one."""
        history = self._log.history(measurement.claim.id)
        before = [p_values for look, p_values in history.items() if look < n]
        contrasts = []
        for place, contrast in enumerate(measurement.contrasts):
            earlier = [
                [min((look.get(name, 1.0) for look in before), default=1.0) for name in _names(place, test)]
                for test in _TESTS
            ]
            by_tails, exactly = (_triple(values) for values in earlier)
            contrasts.append(replace(contrast, looks=len(self._log.plan.looks), earlier=(by_tails, exactly)))
        return replace(measurement, contrasts=tuple(contrasts))

    def _standing(self, verdict: Verdict, look: int, was_open: bool, n: int) -> Standing:
        if verdict.kind == Kind.NOT_RUN:
            return Standing(verdict, ClaimState.NOT_RUN, look)
        if verdict.kind != Kind.UNDERPOWERED:
            return Standing(verdict, ClaimState.DECIDED, look)
        plan = self._log.plan
        if not was_open:
            return replace(self._standings[verdict.claim.id], verdict=verdict)
        level = self._alpha / len(self._claims) / len(plan.looks)
        chance = verdict_probability(verdict.contrasts, plan.last, level) if n < plan.last else None
        hopeless = chance is not None and chance < FUTILE
        return Standing(verdict, ClaimState.FUTILE if hopeless else ClaimState.OPEN, look, chance)


def _names(place: int, test: str) -> list[str]:
    return [f"{place} {test} {side}" for side in _SIDES]


def _triple(values: Sequence[float]) -> PValues:
    support, against, equivalent = values
    return support, against, equivalent


def _p_values(contrasts: Sequence[Contrast]) -> dict[str, float]:
    """Return the p-values of all contrasts at one look, uncorrected, by name."""
    return {
        name: float(p)
        for place, contrast in enumerate(contrasts)
        for test, judged in zip(_TESTS, (contrast, contrast.exact), strict=True)
        for name, p in zip(_names(place, test), judged.p_values, strict=True)
    }
