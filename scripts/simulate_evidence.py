"""Simulate families of claims whose truth is known, and count those in which a verdict is false.

    python scripts/simulate_evidence.py families=2000 jobs=2

It writes the tables of docs/evidence.md. `tests/evidence/test_simulation.py` checks a few of their rows.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from lmablate.config.key_value import run_key_value_command as command
from lmablate.evidence import Contrast, Decision, Difference, Equality, Kind, Sample, SkewedSample, decide
from lmablate.evidence.samples import sample_with_diverged

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "evidence.md"
SEEDS = (4, 8, 10, 16, 32)
# Claims of a family: paired differences, paired equalities, and readings that nothing is subtracted from.
PAIRED, EQUAL, SINGLE = 12, 3, 5
RESIDUALS = ROOT / "scripts" / "study_residuals.txt"

# Draws [arms, seeds] readings with the mean 0.
Noise = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


@dataclass
class Arguments:
    """Simulate families of claims, and write the tables of docs/evidence.md."""

    families: Annotated[int, "families per cell of a table"] = 2000
    jobs: Annotated[int, "processes"] = 2


def normal(rng: np.random.Generator, arms: int, seeds: int) -> NDArray[np.float64]:
    return rng.normal(size=(arms, seeds))


def skewed(rng: np.random.Generator, arms: int, seeds: int) -> NDArray[np.float64]:
    """A gamma distribution with a skew of 1.8, that of the losses of `experiment=activation` in the first study."""
    shape = (2 / 1.8) ** 2
    return rng.gamma(shape, size=(arms, seeds)) - shape


def bimodal(rng: np.random.Generator, arms: int, seeds: int) -> NDArray[np.float64]:
    """Arms that train or do not, against a first one that always trains."""
    readings = rng.choice([-1.0, 1.0], (arms, seeds)) + rng.normal(0, 0.02, (arms, seeds))
    readings[0] = rng.normal(0, 0.02, seeds)
    return readings


def rare(rng: np.random.Generator, arms: int, seeds: int) -> NDArray[np.float64]:
    """A fraction that is 0 in 95 % of seeds, and .25 in the others."""
    return np.where(rng.random((arms, seeds)) < 0.05, 0.25, 0.0) - 0.0125


@cache
def study_residuals() -> NDArray[np.float64]:
    """190 final losses of the first study, of 300 steps, without the mean of each arm and that of each seed.

    Those of each of its five experiments are in units of their standard deviation.
    """
    return np.loadtxt(RESIDUALS)


def pooled(rng: np.random.Generator, arms: int, seeds: int) -> NDArray[np.float64]:
    return rng.choice(study_residuals(), (arms, seeds))


NOISES: dict[str, Noise] = {
    "normal": normal,
    "residuals of the first study": pooled,
    "skewed (1.8)": skewed,
    "bimodal": bimodal,
    "rare event (5 % of seeds)": rare,
}
# The limits of a reading of `rare`, which is a fraction.
LIMITS: dict[str, tuple[float, float]] = {"rare event (5 % of seeds)": (-0.0125, 0.9875)}


def equal_arms(rng: np.random.Generator, noise: str, seeds: int, margin: float = 0.01) -> list[list[Contrast]]:
    """A family of claims about arms with the same mean; all are compared with the same first arm."""
    first, *arms = NOISES[noise](rng, PAIRED + EQUAL + SINGLE + 1, seeds)
    low, high = LIMITS.get(noise, (-np.inf, np.inf))
    contrasts: list[Contrast] = []
    for place, arm in enumerate(arms):
        sign = 1 - 2 * (place % 2)
        difference = Sample.of(sign * (arm - first), (low - high, high - low))
        if place < PAIRED:
            contrasts.append(Difference("x", difference, 0.0, ()))
        elif place < PAIRED + EQUAL:
            contrasts.append(Equality("x", difference, margin, ()))
        else:
            limits = (low, high) if sign > 0 else (-high, -low)
            contrasts.append(Difference("x", SkewedSample.of(sign * arm, limits), 0.0, ()))
    return [[contrast] for contrast in contrasts]


def arms_at_the_margin(rng: np.random.Generator, noise: str, seeds: int) -> list[list[Contrast]]:
    """A family of claims about arms that differ by exactly the margin; all are compared with the same first arm."""
    first, *arms = NOISES[noise](rng, PAIRED + EQUAL + 1, seeds)
    if noise in LIMITS:  # the difference is the event itself
        margin, (low, high) = 0.0125, LIMITS[noise]
        samples = [Sample.of(arm + margin, (low - high, high - low)) for arm in arms]
    else:
        margin = 3.0
        samples = [Sample.of(rng.choice([-margin, margin]) + arm - first) for arm in arms]
    return [
        [Difference("x", sample, margin, ()) if place < PAIRED else Equality("x", sample, margin, ())]
        for place, sample in enumerate(samples)
    ]


def diverging_arms(rng: np.random.Generator, counts_as: float, limit: float, seeds: int) -> list[list[Contrast]]:
    """A family of claims about arms with the same mean, of which a fifth of the runs diverges.

    Args:
        rng: draws the readings.
        counts_as: the reading of a diverged run: a number if untrained, inf for the worst, NaN if missing.
        limit: the readings are cut at this distance from 0.
        seeds: number of seeds.
    """
    readings = rng.normal(size=(PAIRED + EQUAL + 1, seeds)).clip(-limit, limit)
    diverged = rng.random(readings.shape) < 0.2
    readings[diverged] = counts_as
    first, *arms = readings
    contrasts: list[Contrast] = []
    for place, arm in enumerate(arms):
        both = np.isinf(arm) & np.isinf(first)
        effects = (1 - 2 * (place % 2)) * np.subtract(arm, first, out=np.zeros(seeds), where=~both)
        if np.isnan(effects).all():
            continue
        cut = (diverged[0] | diverged[place + 1]).any()
        limits = (-2 * limit, 2 * limit)
        sample = sample_with_diverged(effects, limits, Sample) if cut else Sample.of(effects, limits)
        contrasts.append(Difference("x", sample, 0.0, ()) if place < PAIRED else Equality("x", sample, 0.01, ()))
    return [[contrast] for contrast in contrasts]


# What is read, and diverging_arms's counts_as and limit.
DIVERGING = {
    "a fifth of the runs diverges: a loss": (6.0, np.inf),
    "a fifth of the runs diverges: a gradient norm": (np.inf, np.inf),
    "a fifth of the runs diverges: a probe with limits": (np.nan, 3.0),
}


def chosen_rates(rng: np.random.Generator, seeds: int, rates: int = 4) -> list[list[Contrast]]:
    """A claim alone: a flat arm against one that is good at one rate only, with the same best mean loss."""
    flat = rng.normal(size=(rates, seeds))
    sharp = rng.normal(size=(rates, seeds)) + np.array([0.0, *[9.0] * (rates - 1)])[:, None]
    best = [arm[arm.mean(axis=1).argmin()] for arm in (flat, sharp)]
    return [[Difference("x", Sample.paired(best[1], best[0]), 0.0, (), choices=(rates, rates))]]


def error_rates(
    family: Callable[[np.random.Generator], Sequence[Sequence[Contrast]]],
    is_false: Callable[[Decision], bool],
    families: int,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the share of families with a false verdict, and that with one that does not rest on normal tails."""
    rng = np.random.default_rng(seed)
    wrong = surely_wrong = 0
    for _ in range(families):
        errors = [decision for decision in decide(family(rng)) if is_false(decision)]
        wrong += bool(errors)
        surely_wrong += any(not error.normal_tails for error in errors)
    return wrong / families, surely_wrong / families


def differs(decision: Decision) -> bool:
    """Whether a decision says that two arms differ."""
    claims_difference = isinstance(decision.contrast, Difference)
    return decision.kind == Kind.REFUTED or (decision.kind == Kind.SUPPORTED and claims_difference)


def is_alike(decision: Decision) -> bool:
    """Whether a decision says that two arms are alike."""
    claims_equality = isinstance(decision.contrast, Equality)
    return decision.kind == Kind.EQUIVALENT or (decision.kind == Kind.SUPPORTED and claims_equality)


def table(title: str, rows: dict[str, Callable[[int], tuple[float, float]]], jobs: int) -> Iterator[str]:
    """Yield the lines of a table of Markdown: one row per noise, one column per number of seeds."""
    yield f"| {title} | {' | '.join(f'n = {n}' for n in SEEDS)} |"
    yield "|---|" + "---|" * len(SEEDS)
    with ProcessPoolExecutor(jobs) as pool:
        found = [pool.map(rates, SEEDS) for rates in rows.values()]
        for name, rates_of_row in zip(rows, found, strict=True):
            cells = [" / ".join(f"{rate:.3f}" for rate in rates) for rates in rates_of_row]
            yield f"| {name} | {' | '.join(cells)} |"


def _at(
    family: Callable[..., Sequence[Sequence[Contrast]]],
    is_false: Callable[[Decision], bool],
    families: int,
    seeds: int,
) -> tuple[float, float]:
    return error_rates(lambda rng: family(rng, seeds=seeds), is_false, families)


def simulate_evidence(arguments: Arguments) -> None:
    from machine import describe
    from marked import replaced

    count = arguments.families
    differ = {noise: partial(_at, partial(equal_arms, noise=noise), differs, count) for noise in NOISES}
    for name, (counts_as, limit) in DIVERGING.items():
        family = partial(diverging_arms, counts_as=counts_as, limit=limit)
        differ[name] = partial(_at, family, differs, count)
    differ["normal, each arm's rate chosen (of 4)"] = partial(_at, chosen_rates, differs, count)
    alike = {noise: partial(_at, partial(arms_at_the_margin, noise=noise), is_alike, count) for noise in NOISES}
    lines = [
        *table("equal arms are said to differ", differ, arguments.jobs),
        "",
        *table("arms that differ by the margin are said to be alike", alike, arguments.jobs),
        "",
        f"{count:,} families a cell; `python scripts/simulate_evidence.py families={count}`, {describe()}.",
    ]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(page, "simulation", lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    command("scripts.simulate_evidence", Arguments, simulate_evidence)
