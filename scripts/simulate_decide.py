"""Simulate what `lmablate.decide` promises, with its own judge of looks: false verdicts, intervals, and seeds saved.

    python -m scripts.simulate_decide families=200 jobs=2

A family is five claims about arms whose truth is known, all compared with the same first arm. Its seeds are looked at
in four steps, as `decide` does: what is decided or futile stops. It writes the table of docs/evidence.md.
`tests/evidence/test_simulation.py` checks some of its rows with fewer families.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmablate.config.key_value import run_key_value_command as command
from lmablate.evidence import PREDICATES, Claim, Kind, Measured, RunTable, Verdict
from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.evidence.sequential import ClaimState, LookJudge
from scripts.machine import describe
from scripts.marked import replaced
from scripts.simulate_evidence import NOISES, PAGE

PLAN, FIXED = LookPlan((4, 8, 16, 32)), LookPlan((32,))
CASES = ("normal", "residuals of the first study")
ARMS = 6
# In standard deviations of a run.
MARGIN = 1.0


@dataclass
class Arguments:
    """Simulate families of claims that are looked at in steps, and write the table of docs/evidence.md."""

    families: Annotated[int, "families per row"] = 200
    jobs: Annotated[int, "processes"] = 2


@dataclass(frozen=True)
class Truth:
    """How the arms differ from the first one.

    Attributes:
        words: the same in words.
        effect: the loss of the first arm less that of any other, in standard deviations of a run.
        predicate: what is claimed of each arm.
        is_false: whether a verdict is false.
    """

    words: str
    effect: float
    predicate: str
    is_false: Callable[[Verdict], bool]


def _decided(verdict: Verdict) -> bool:
    return verdict.kind != Kind.UNDERPOWERED


def _is_alike(verdict: Verdict) -> bool:
    return verdict.kind in (Kind.EQUIVALENT, Kind.SUPPORTED)


def _is_refuted(verdict: Verdict) -> bool:
    return verdict.kind == Kind.REFUTED


TRUTHS = (
    Truth("no arm differs; each is claimed to be better", 0.0, "lower", _decided),
    Truth("each differs by the margin, 1 sd; it is claimed to be alike", MARGIN, "equal", _is_alike),
    Truth("each is better by 1.5 sd, as claimed", 1.5, "lower", _is_refuted),
    Truth("each is better by 3 sd, as claimed", 3.0, "lower", _is_refuted),
)


def claims_of(truth: Truth) -> list[Claim]:
    """Return the family: one claim about each arm but the first."""
    names, margin = (("one", "other"), MARGIN) if truth.predicate == "equal" else (("better", "worse"), 0.0)
    claims = []
    for arm in range(1, ARMS):
        levels: dict[str, Any] = dict(zip(names, ({"arm": str(arm)}, {"arm": "0"}), strict=True))
        measured = PREDICATES[truth.predicate](experiment="e", metric="val/loss", margin=margin, **levels)
        claims.append(Claim(f"C{arm}", "text", "reported", "question", (measured,)))
    return claims


def runs_of(losses: NDArray[np.float64]) -> RunTable:
    """Return the runs whose final losses are given, [arms, seeds]."""
    places = [(arm, seed) for arm in range(losses.shape[0]) for seed in range(losses.shape[1])]
    ids = [f"{arm}-{seed}" for arm, seed in places]
    runs = pd.DataFrame({"run": ids, "seed": [seed for _, seed in places], "arm": [str(arm) for arm, _ in places]})
    curves = pd.DataFrame({"run": ids, "step": 1.0, "value": [losses[place] for place in places]})
    facts = pd.DataFrame({"run": ids, "experiment": "e", "data_fingerprint": "d", "code_version": 1, "tokens": 1})
    return RunTable({"e": Measured(runs, ["val/loss"], lambda _: curves)}, facts.assign(state="done"))


@dataclass(frozen=True)
class Outcome:
    """What became of a family.

    Attributes:
        false: whether any verdict is false.
        missed: whether an interval of the first claim, at a look up to where it stopped, misses the truth.
        decided: share of the claims that were decided.
        runs: number of runs that were trained: of each arm as many as its claim needed, of the first as many as any.
    """

    false: bool
    missed: bool
    decided: float
    runs: int


def outcome(truth: Truth, losses: NDArray[np.float64], plan: LookPlan) -> Outcome:
    """Judge a family look by look, until all claims have stopped."""
    judge = LookJudge(claims_of(truth), LookLog(None, plan))
    true_effect = -truth.effect if truth.predicate == "equal" else truth.effect
    standings, missed = [], False
    for n in plan.looks:
        standings = judge.look(n, runs_of(losses[:, :n]))
        first = standings[0]
        missed |= not first.verdict.low <= true_effect <= first.verdict.high
        if not judge.open_claims:
            break
    looks = [standing.look for standing in standings]
    return Outcome(
        any(truth.is_false(standing.verdict) for standing in standings),
        missed,
        float(np.mean([standing.progress == ClaimState.DECIDED for standing in standings])),
        sum(looks) + max(looks),
    )


def row(case: tuple[str, Truth], families: int) -> str:
    """Return the row of a noise and a truth."""
    noise, truth = case
    rng, stepwise, fixed = np.random.default_rng(0), [], []
    for _ in range(families):
        drawn = NOISES[noise](rng, ARMS, PLAN.last)
        losses = drawn / _spread(noise)
        losses[1:] -= truth.effect
        stepwise.append(outcome(truth, losses, PLAN))
        fixed.append(outcome(truth, losses, FIXED))
    shares = [np.mean([getattr(each, name) for each in stepwise]) for name in ("false", "missed", "decided")]
    runs = np.mean([each.runs for each in stepwise])
    cells = [f"{share:.3f}" for share in shares] + [f"{runs:.0f}"]
    cells += [f"{np.mean([each.decided for each in fixed]):.3f}", f"{fixed[0].runs}"]
    return f"| {noise} | {truth.words} | {' | '.join(cells)} |"


def _spread(noise: str) -> float:
    return float(NOISES[noise](np.random.default_rng(1), 1, 100_000).std())


def rows(families: int, jobs: int = 1) -> Iterator[str]:
    """Yield the rows of the table."""
    cases = [(noise, truth) for noise in CASES for truth in TRUTHS]
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(row, families=families), cases)


def simulate_decide(arguments: Arguments) -> None:
    count = arguments.families
    lines = [
        "| noise | truth | a false verdict | an interval misses | decided | runs | decided, n = 32 at once | runs |",
        "|---|---|---|---|---|---|---|---|",
        *rows(count, arguments.jobs),
        "",
        f"{count:,} families a row; `python -m scripts.simulate_decide families={count}`, {describe()}.",
    ]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(page, "looks", lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    command("scripts.simulate_decide", Arguments, simulate_decide)
