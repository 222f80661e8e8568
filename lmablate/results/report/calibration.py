"""Can the verdicts be trusted? What the procedure says where nothing differs, and whether pairing pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lmablate.evidence import Difference, Kind, Reading, RunTable, Sample, decide
from lmablate.evidence.tables import NotMeasured
from lmablate.results.report.arms import final_losses
from lmablate.results.report.study import Study

AA = "aa"
FACTOR = "model.init.salt"
FAMILIES = (4, 5)
"""Pairs in a family: about as few seeds as most comparisons rest on."""
FALSE = (Kind.SUPPORTED, Kind.REFUTED)
"""Either says that the two arms differ, which they do not."""
READINGS: Mapping[str, tuple[Reading, float]] = {
    "final validation loss": (Reading("val/loss"), 0.01),
    "mean validation loss": (Reading("val/loss", "mean"), 0.01),
    "mean gradient norm, log": (Reading("grad_norm", "mean", transform="log"), 0.05),
    "peak over median gradient norm, log": (Reading("grad_norm", "peak_to_median", transform="log"), 0.69),
}
"""What the claims read, each with the margin that they use for it."""


@dataclass(frozen=True)
class NullTest:
    """The rule of `evidence.verdicts` on two arms that differ in nothing but their random numbers.

    on_all: the verdict's contrast on all pairs. families: pairs in a family -> (false verdicts, families).
    """

    reading: str
    kind: Kind
    on_all: Difference
    families: dict[int, tuple[int, int]]


def null_tests(study: Study) -> list[NullTest]:
    """One test for each of READINGS; none where the A/A experiment was not run."""
    found = []
    for name, (reading, margin) in READINGS.items():
        try:
            differences, runs = _aa_differences(study.runs, reading)
        except NotMeasured:
            continue

        families = {}
        for size in FAMILIES:
            chunks = [differences[i : i + size] for i in range(0, len(differences) - size + 1, size)]
            kinds = [_judge(chunk, margin, runs)[0] for chunk in chunks]
            families[size] = (sum(kind in FALSE for kind in kinds), len(kinds))
        found.append(NullTest(name, *_judge(differences, margin, runs), families))
    return found


def _judge(differences: Sequence[float], margin: float, runs: tuple[str, ...]) -> tuple[Kind, Difference]:
    contrast = Difference("the arms differ", Sample.of(differences), margin, runs)
    return decide([[contrast]])[0].kind, contrast


def _aa_differences(table: RunTable, reading: Reading) -> tuple[list[float], tuple[str, ...]]:
    """One arm's reading minus the other's, by seed, and the runs."""
    a, b = (table.runs(AA, {FACTOR: level}) for level in ("a", "b"))
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise NotMeasured(f"the arms of {AA} have no finished seed in common")
    values = [reading.of(table, AA, a[seed]) - reading.of(table, AA, b[seed]) for seed in seeds]
    return values, tuple(runs[seed] for seed in seeds for runs in (a, b))


@dataclass(frozen=True)
class Pairing:
    """Variance of the final losses' paired differences over that of unpaired ones, over all pairs of arms.

    Below 1 common random numbers pay: that fraction of the seeds gives the same standard error.
    """

    experiment: str
    pairs_of_arms: int
    seeds: int
    ratio: float


def pairings(study: Study) -> list[Pairing]:
    """One for each experiment that has two arms with two seeds in common.

    The ratio is that of the summed variances: a mean of ratios over few seeds would follow the luckiest pair.
    """
    found = []
    for name, data in study.experiments.items():
        losses = final_losses(data)
        pairs: Any = [a.align(b, join="inner") for a, b in combinations(losses.values(), 2)]
        finite = [(a, b) for a, b in pairs if len(a) >= 2 and np.isfinite(a).all() and np.isfinite(b).all()]
        unpaired = sum(a.var() + b.var() for a, b in finite)
        if unpaired > 0:
            paired = sum((a - b).var() for a, b in finite)
            found.append(Pairing(name, len(finite), min(len(a) for a, _ in finite), paired / unpaired))
    return found
