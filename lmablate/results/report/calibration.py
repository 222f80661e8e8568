"""How far the verdicts can be trusted: the rule's errors where nothing differs, and the gain of pairing by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from lmablate.evidence import Difference, Kind, Reading, RunTable, Sample, decide
from lmablate.evidence.tables import NotMeasured
from lmablate.results.frames import align_rows, sample_variance
from lmablate.results.report.study import Study, final_losses, finished_runs

# The A/A experiment, and the factor that names its two arms.
AA = "aa"
FACTOR = "model.init.salt"
# Pairs in a family: about as many seeds as most comparisons rest on.
FAMILIES = (4, 5)
# With fewer seeds, a ratio of variances says nothing.
FEWEST_SEEDS = 4
# Verdicts that the two arms differ. They do not.
FALSE_VERDICTS = (Kind.SUPPORTED, Kind.REFUTED)
# The readings of the claims, each with the margin that the claims use for it.
READINGS: Mapping[str, tuple[Reading, float]] = {
    "final validation loss": (Reading("val/loss"), 0.01),
    "mean validation loss": (Reading("val/loss", "mean"), 0.01),
    "mean gradient norm, log": (Reading("grad_norm", "mean", transform="log"), 0.05),
    "peak over median gradient norm, log": (Reading("grad_norm", "peak_to_median", transform="log"), 0.69),
}


@dataclass(frozen=True)
class NullTest:
    """The rule of `evidence.verdicts`, applied to two arms that differ only in their random numbers.

    Attributes:
        reading: the reading that is compared, in words.
        kind: the verdict on all pairs.
        on_all: the contrast on all pairs.
        families: (number of false verdicts, number of families), by the number of pairs in a family, of which there are
            no more than there are pairs.
    """

    reading: str
    kind: Kind
    on_all: Difference
    families: dict[int, tuple[int, int]]


def null_tests(study: Study) -> list[NullTest]:
    """Return one test for each of READINGS; none if the A/A experiment was not run."""
    tests = []
    for name, (reading, margin) in READINGS.items():
        try:
            differences, runs = _aa_differences(study.run_table, reading)
        except NotMeasured:
            continue

        families = {}
        for size in (size for size in FAMILIES if size <= len(differences)):
            chunks = [differences[i : i + size] for i in range(0, len(differences) - size + 1, size)]
            kinds = [_judge(chunk, margin, runs)[0] for chunk in chunks]
            families[size] = (sum(kind in FALSE_VERDICTS for kind in kinds), len(kinds))
        tests.append(NullTest(name, *_judge(differences, margin, runs), families))
    return tests


def _judge(differences: Sequence[float], margin: float, runs: tuple[str, ...]) -> tuple[Kind, Difference]:
    contrast = Difference("the arms differ", Sample.of(differences), margin, runs)
    return decide([[contrast]])[0].kind, contrast


def _aa_differences(table: RunTable, reading: Reading) -> tuple[list[float], tuple[str, ...]]:
    """Return the reading of arm a minus that of arm b, by seed, and the ids of the runs."""
    a, b = (table.runs(AA, {FACTOR: level}) for level in ("a", "b"))
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise NotMeasured(f"the arms of {AA} have no finished seed in common")
    values = [reading.of(table, AA, a[seed]) - reading.of(table, AA, b[seed]) for seed in seeds]
    return values, tuple(runs[seed] for seed in seeds for runs in (a, b))


@dataclass(frozen=True)
class Pairing:
    """The gain of common random numbers in one experiment.

    Attributes:
        experiment: its name.
        pairs_of_arms: number of pairs of arms with at least FEWEST_SEEDS finished seeds in common.
        seeds: the smallest number of seeds that such a pair has in common.
        ratio: variance of the final losses' paired differences over that of unpaired ones, summed over the pairs of
            arms. Below 1 pairing pays: this fraction of the seeds gives the same standard error.
    """

    experiment: str
    pairs_of_arms: int
    seeds: int
    ratio: float


def pairings(study: Study) -> list[Pairing]:
    """Return one row for each experiment that has two arms with FEWEST_SEEDS seeds in common.

    The ratio is that of the summed variances: a mean of ratios over few seeds would follow the luckiest pair.
    """
    rows = []
    for name, data in study.experiments.items():
        losses = final_losses(replace(data, runs=finished_runs(data.runs)))
        pairs = [align_rows(a, b) for a, b in combinations(losses.values(), 2)]
        finite = [(a, b) for a, b in pairs if len(a) >= FEWEST_SEEDS and np.isfinite(a).all() and np.isfinite(b).all()]
        unpaired = sum(sample_variance(a) + sample_variance(b) for a, b in finite)
        if unpaired > 0:
            paired = sum(sample_variance(a - b) for a, b in finite)
            rows.append(Pairing(name, len(finite), min(len(a) for a, _ in finite), paired / unpaired))
    return rows
