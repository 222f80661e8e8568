"""What a judge prints: a table and a sentence for people, JSON for programs, and an exit code for scripts."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lmablate.errors import counted, duration
from lmablate.referee.arms import ArmCommand
from lmablate.referee.ledger import Outcome, State
from lmablate.referee.trial import ArmComparison, Rules, Ruling

FAILED = 1
_EXIT_CODES = {Ruling.BETTER: 0, Ruling.EQUIVALENT: 3, Ruling.OPEN: 4, Ruling.WORSE: 5}
# Relative difference below which two arms took as long, or did as many steps.
_SAME = 0.03


@dataclass(frozen=True)
class ArmSummary:
    """What the runs of one arm gave.

    Attributes:
        name: the arm.
        command: its command.
        runs: how many have ended with a number, or diverged.
        mean: mean of the metric over those with a number.
        sd: their standard deviation.
        diverged: how many diverged.
        failed: how many failed.
        seconds: mean time of a run.
        steps: mean number of steps; NaN if it is not read.
    """

    name: str
    command: str
    runs: int
    mean: float
    sd: float
    diverged: int = 0
    failed: int = 0
    seconds: float = math.nan
    steps: float = math.nan

    @classmethod
    def of(cls, arm: ArmCommand, outcomes: Sequence[Outcome]) -> "ArmSummary":
        """Summarise the runs of an arm."""
        done = [outcome for outcome in outcomes if outcome.state != State.FAILED]
        values = [outcome.value for outcome in done if outcome.state == State.DONE]
        mean, sd = mean_and_sd(values)
        return cls(
            arm.name,
            arm.command,
            len(done),
            mean,
            sd,
            len(done) - len(values),
            len(outcomes) - len(done),
            mean_and_sd([outcome.seconds for outcome in done])[0],
            mean_and_sd([outcome.steps for outcome in done])[0],
        )


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n − 1); NaN where there are too few values."""
    mean = float(np.mean(values)) if len(values) else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


@dataclass
class Report:
    """What was found.

    Attributes:
        headline: the finding in a few words.
        exit_code: 0 better, 1 runs failed, 3 equivalent, 4 open, 5 worse.
        lines: the table and the sentences.
        facts: the same for programs.
    """

    headline: str
    exit_code: int
    lines: list[str]
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {"verdict": self.headline, "exit_code": self.exit_code, **self.facts}

    def show(self, form: str) -> None:
        """Print it as a table or as JSON."""
        print(json.dumps(finite(self.as_json()), indent=1) if form == "json" else "\n".join(self.lines))


def finite(value: Any) -> Any:
    """Return a JSON value in which null stands for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table as lines of text: the first column to the left, numbers to the right."""
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def shown(value: float) -> str:
    """Return a number with five digits; a dash for one that is not known."""
    return f"{value:.5g}" if math.isfinite(value) else "–"


def comparison_report(
    comparisons: Sequence[ArmComparison],
    arms: Sequence[ArmSummary],
    rules: Rules,
    better: str,
    failures: Sequence[str],
    notes: Sequence[str],
    started: int,
) -> Report:
    """Return the report of a comparison of arms.

    Args:
        comparisons: of the first arm with each other one; empty if runs failed.
        arms: what the runs of each arm gave.
        rules: what was fixed beforehand.
        better: lower or higher.
        failures: one sentence for each run that failed.
        notes: sentences to add.
        started: runs that were done now, not before.
    """
    rows = [
        [
            arm.name,
            str(arm.runs),
            shown(arm.mean),
            shown(arm.sd),
            str(arm.diverged),
            str(arm.failed),
            _time(arm.seconds),
        ]
        for arm in arms
    ]
    lines = table_lines(["arm", "runs", "mean", "sd", "diverged", "failed", "time of a run"], rows)
    lines += ["", *(_comparison_sentence(comparison, rules) for comparison in comparisons), *failures]
    notes = [*notes, *budget_notes(arms), *_same_values(comparisons)]
    total = sum(arm.runs for arm in arms)
    lines += [*notes, f"{counted(total, 'run')}, {started} of them now."]
    if failures or not comparisons:
        headline, code = "runs failed", FAILED
    else:
        ruling = _overall([comparison.ruling for comparison in comparisons])
        headline, code = _headline(ruling, comparisons), _EXIT_CODES[ruling]
    facts = {
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "arms": [asdict(arm) for arm in arms],
        "rules": {
            "looks": list(rules.plan.looks), "margin": rules.margin, "alpha": rules.alpha, "better": better,
        },
        "failures": list(failures),
        "notes": notes,
        "runs": total,
        "runs_now": started,
    }  # fmt: skip
    return Report(headline, code, lines, facts)


def _overall(rulings: Sequence[Ruling]) -> Ruling:
    """Return what all comparisons of the first arm with others say together.

    It is worse if one other arm is better, else open if one comparison is, better if it beats every other arm, and
    otherwise equivalent: nothing beats it.
    """
    for ruling in (Ruling.WORSE, Ruling.OPEN):
        if ruling in rulings:
            return ruling
    return Ruling.BETTER if {*rulings} == {Ruling.BETTER} else Ruling.EQUIVALENT


def _headline(ruling: Ruling, comparisons: Sequence[ArmComparison]) -> str:
    first = comparisons[0].first
    if len(comparisons) > 1:
        words = {
            Ruling.BETTER: "is better than every other arm",
            Ruling.WORSE: "is worse than another arm",
            Ruling.EQUIVALENT: "is at least as good as every other arm",
            Ruling.OPEN: "is not decided against every other arm",
        }
        return f"{first} {words[ruling]}"
    other = comparisons[0].other
    return {
        Ruling.BETTER: f"{first} better", Ruling.WORSE: f"{other} better",
        Ruling.EQUIVALENT: "equivalent", Ruling.OPEN: "open",
    }[ruling]  # fmt: skip


def _comparison_sentence(comparison: ArmComparison, rules: Rules) -> str:
    """Return one comparison in words."""
    first, other, p = comparison.first, comparison.other, comparison.p
    if comparison.ruling == Ruling.WORSE:
        first, other = other, first
    flip = comparison.ruling == Ruling.WORSE
    low, high = (-comparison.high, -comparison.low) if flip else (comparison.low, comparison.high)
    effect = -comparison.effect if flip else comparison.effect
    look = rules.plan.looks.index(comparison.n) + 1 if comparison.n in rules.plan.looks else 0
    seeds = f"{comparison.n} seeds each" + (f", look {look} of {len(rules.plan.looks)}" if look else "")
    if any(comparison.diverged):
        a, b = comparison.diverged
        numbers = f"{a} of {comparison.first} and {b} of {comparison.other} diverged, which counts as the worst"
    else:
        numbers = f"by {shown(effect)} ({shown(low)} to {shown(high)}, {100 * comparison.level:.5g}%)"
    match comparison.ruling:
        case Ruling.BETTER | Ruling.WORSE:
            size = f"{numbers}; " if any(comparison.diverged) else ""
            by = "" if any(comparison.diverged) else f" {numbers}"
            return f"{first} is better than {other}{by}; {size}p = {p[comparison.ruling]:.2g}, {seeds}."
        case Ruling.EQUIVALENT:
            return (
                f"{first} and {other} are equivalent: they differ {numbers}, less than the margin of {rules.margin:g}; "
                f"p = {p['equivalent']:.2g}, {seeds}."
            )
        case _:
            return (
                f"It is open whether {first} is better than {other}: {numbers}; "
                f"p = {min(p['better'], p['worse']):.2g}, {seeds}.{_why_open(comparison, rules)}"
            )


def _why_open(comparison: ArmComparison, rules: Rules) -> str:
    """Return a further sentence about a comparison that is open; it may be empty."""
    if min(comparison.p["better"], comparison.p["worse"]) <= rules.alpha:
        return f" A difference is there, but it may be smaller than the margin of {rules.margin:g}."
    if not any(comparison.diverged) and not math.isfinite(comparison.low):
        return " All differences are the same to the last digit, which tells nothing of their spread: is the seed used?"
    return ""


def budget_notes(arms: Sequence[ArmSummary]) -> list[str]:
    """Return sentences that tell budgets of time from budgets of steps, where steps are read.

    With a budget of time a slower arm does fewer steps, so its loss tells of its speed, too.
    """
    known = [arm for arm in arms if math.isfinite(arm.steps) and math.isfinite(arm.seconds) and arm.steps > 0]
    if len(known) < 2:
        return []
    first, notes = known[0], []
    for arm in known[1:]:
        steps, seconds = arm.steps / first.steps, arm.seconds / first.seconds
        done = f"{first.name} did {first.steps:,.0f} steps in {duration(first.seconds)}, {arm.name} {arm.steps:,.0f} in"
        done += f" {duration(arm.seconds)}"
        if abs(steps - 1) <= _SAME:
            if abs(seconds - 1) > _SAME:
                notes.append(f"{done}: the budget is one of steps, and does not count that a run's time differs.")
        elif abs(seconds - 1) <= _SAME:
            notes.append(f"{done}: the budget is one of time, in which the slower arm does fewer steps.")
        else:
            notes.append(f"{done}: neither steps nor time are equal, so the arms had different budgets.")
    return notes


def _same_values(comparisons: Sequence[ArmComparison]) -> list[str]:
    return [
        f"{comparison.first} and {comparison.other} gave the same value on each seed, to the last digit: what differs "
        "between the commands has no effect, or is not read."
        for comparison in comparisons
        if comparison.identical
    ]


def _time(seconds: float) -> str:
    return duration(seconds) if math.isfinite(seconds) else "–"
