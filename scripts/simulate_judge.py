"""Simulate what `lmablate.judge` promises, with its own rule: `python scripts/simulate_judge.py [trials=N]`.

Prints the tables of docs/judge.md. trials=2000 takes some minutes on one core.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from machine import describe
from numpy.typing import NDArray
from scipy import stats

from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.referee.sessions import is_hopeless
from lmablate.referee.trial import ArmComparison, Rules, Ruling, run_trial

PLAN = LookPlan((4, 8, 16, 32))
Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]


def judge(values: Mapping[str, Values], rules: Rules, gives_up: bool = False) -> list[ArmComparison]:
    """Judge arms whose costs are known, as if they were run."""

    def measure(names: Sequence[str], n: int) -> dict[str, Values]:
        return {name: values[name][:n] for name in names}

    def goes_on(look: int, comparisons: Sequence[ArmComparison]) -> bool:
        return not (gives_up and is_hopeless(comparisons[0]))

    return run_trial(list(values), rules, measure, LookLog(None, rules.plan), goes_on)


def bimodal(rng: np.random.Generator, n: int) -> Values:
    """Runs that train or do not, with a little noise."""
    return rng.integers(0, 2, n) + rng.normal(0, 0.02, n)


def diverging(rng: np.random.Generator, n: int) -> Values:
    """Runs of which a fifth diverges."""
    return np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))


SPREADS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails (t, 3 df)": lambda rng, n: rng.standard_t(3, n),
    "skewed (lognormal)": lambda rng, n: rng.lognormal(0, 1, n),
    "a fifth diverges": diverging,
    "bimodal: trains or does not": bimodal,
}


def peeked(a: Values, b: Values, alpha: float = 0.05) -> bool:
    """Return whether a plain t test after each seed from the third on would ever have found a difference."""
    d = a - b
    n = np.arange(1, d.size + 1)
    mean = np.cumsum(d) / n
    variance = np.maximum(np.cumsum(d**2) - n * mean**2, 1e-300)[2:] / (n[2:] - 1)
    t = np.abs(mean[2:]) / np.sqrt(variance / n[2:])
    return bool((2 * stats.t.sf(t, n[2:] - 1) <= alpha).any())


def null_pairs(trials: int) -> None:
    """Two arms that do not differ."""
    print("| spread of a run | false better or worse | looks from 8 | test=ranks | a t test after each seed |")
    print("|---|---:|---:|---:|---:|")
    for name, draw in SPREADS.items():
        rng, late = np.random.default_rng(1), LookPlan(PLAN.looks[1:])
        wrong = wrong_late = wrong_exact = wrong_peeking = 0
        for _ in range(trials):
            a, b = draw(rng, PLAN.last), draw(rng, PLAN.last)
            wrong += judge({"a": a, "b": b}, Rules(PLAN))[0].ruling != Ruling.OPEN
            wrong_late += judge({"a": a, "b": b}, Rules(late))[0].ruling != Ruling.OPEN
            wrong_exact += judge({"a": a, "b": b}, Rules(PLAN, exact=True))[0].ruling != Ruling.OPEN
            wrong_peeking += peeked(a, b)
        peeking = "–" if name == "a fifth diverges" else percent(wrong_peeking, trials)
        print(
            f"| {name} | {percent(wrong, trials)} | {percent(wrong_late, trials)} "
            f"| {percent(wrong_exact, trials)} | {peeking} |"
        )


def others(trials: int) -> None:
    """A difference as large as the margin, and five arms of which none differs."""
    rng = np.random.default_rng(2)
    equivalent = families = 0
    for _ in range(trials):
        a = rng.normal(0, 0.3, PLAN.last)
        equivalent += (
            judge({"a": a, "b": rng.normal(1, 0.3, PLAN.last)}, Rules(PLAN, margin=1.0))[0].ruling == "equivalent"
        )
        arms = {name: rng.normal(size=PLAN.last) for name in "abcde"}
        families += any(found.ruling != Ruling.OPEN for found in judge(arms, Rules(PLAN)))
    print(f"\nFalse equivalent at a difference of exactly the margin: {percent(equivalent, trials)}.")
    print(f"Any false better or worse among four comparisons with one arm: {percent(families, trials)}.")


def sessions(trials: int, proposals: int = 100) -> None:
    """Sessions of proposals that are no better than the baseline."""
    print(f"\n| {proposals} null proposals, given up early | spread of a run | any accepted | runs of a proposal |")
    print("|---|---|---:|---:|")
    cases = [(True, "normal", False), (True, "normal", True), (False, "normal", False)]
    cases += [(exact, "bimodal: trains or does not", False) for exact in (True, False)]
    for exact, spread, fresh in cases:
        rng, draw, wrong, seeds, judged = np.random.default_rng(3), SPREADS[spread], 0, 0, 0
        rules = Rules(PLAN, alpha=2 * 0.05 / proposals, exact=exact)
        for _ in range(trials):
            base = draw(rng, PLAN.last)
            for _ in range(proposals):
                base = draw(rng, PLAN.last) if fresh else base
                values = {"proposal": draw(rng, PLAN.last), "baseline": base}
                (found,) = judge(values, rules, gives_up=True)
                seeds, judged = seeds + found.n, judged + 1
                if found.ruling == Ruling.BETTER:
                    wrong += 1
                    break
        name = f"{'ranks' if exact else 'test=t'}, {'seeds=fresh' if fresh else 'shared baseline'}"
        print(f"| {name} | {spread} | {percent(wrong, trials)} | {seeds / judged:.1f} |")
    rng = np.random.default_rng(4)
    naive = sum(bool((rng.normal(size=proposals) < rng.normal()).any()) for _ in range(trials))
    print(f"| accepted if lower in one run | normal | {percent(naive, trials)} | 1 |")


def power(trials: int) -> None:
    """What is found, and by how many seeds per arm, where arms differ."""
    header = "| true difference, in sd of a pair | found | seeds per arm | test=ranks: found | seeds | n = 8 | n = 32 |"
    print(f"\n{header}")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for effect in (0.5, 1.0, 2.0, 3.0):
        rng, fixed = np.random.default_rng(5), {8: 0, 32: 0}
        decided = seeds = exactly = more = 0
        for _ in range(trials):
            a, b = rng.normal(0, 0.5**0.5, PLAN.last), rng.normal(effect, 0.5**0.5, PLAN.last)
            (found,) = judge({"a": a, "b": b}, Rules(PLAN))
            (exact,) = judge({"a": a, "b": b}, Rules(PLAN, exact=True))
            exactly, more = exactly + (exact.ruling == Ruling.BETTER), more + exact.n
            decided, seeds = decided + (found.ruling == Ruling.BETTER), seeds + found.n
            for n in fixed:
                fixed[n] += judge({"a": a[:n], "b": b[:n]}, Rules(LookPlan((n,))))[0].ruling == Ruling.BETTER
        cells = [percent(decided, trials), f"{seeds / trials:.1f}", percent(exactly, trials), f"{more / trials:.1f}"]
        cells += [percent(count, trials) for count in fixed.values()]
        print(f"| {effect:g} | {' | '.join(cells)} |")


def percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %"


def main() -> None:
    trials = int(dict(argument.split("=") for argument in sys.argv[1:]).get("trials", 2000))
    print(f"{describe()}, {trials} trials, alpha 0.05, looks at {', '.join(map(str, PLAN.looks))}.\n")
    null_pairs(trials)
    others(trials)
    sessions(trials // 5)
    power(trials // 4)


if __name__ == "__main__":
    main()
