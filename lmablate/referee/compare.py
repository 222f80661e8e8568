"""Compare two commands or more, with seeds added by planned looks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lmablate.errors import UserError
from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.files import (
    COUNT,
    FLAG,
    NUMBER,
    append_json_line,
    locked,
    object_of,
    object_with,
    read_record_lines,
    write_json,
)
from lmablate.referee.arms import ArmCommand, make_arms, read_arms
from lmablate.referee.ledger import Ledger, Outcome, Request, State, first_failures
from lmablate.referee.options import Options
from lmablate.referee.report import ArmSummary, Report, comparison_report, finite
from lmablate.referee.snapshot import describe_machine_of_runs, freeze, git_commit
from lmablate.referee.trial import ArmComparison, ConstantArm, Costs, Rules, run_trial
from lmablate.referee.workers import LocalLauncher, RunPool, SlurmLauncher, stderr_line

_RULES = {"looks": {"type": "array", "items": COUNT}, "margin": NUMBER, "alpha": NUMBER, "exact": FLAG}
_PLAN = object_with({"rules": object_of(_RULES)})


class RunsFailed(Exception):
    """Some runs have no number, so no look can be made."""


def open_workers(options: Options) -> RunPool:
    """Return the workers that the options describe; makes the folder of the ledger."""
    reading = options.reading
    launcher = SlurmLauncher(options.resources) if options.launcher == "slurm" else LocalLauncher()
    log_bytes = int(options.log_mb * 1e6)
    ledger = Ledger(options.out, describe_machine_of_runs(), options.limit * 60, log_bytes)
    return RunPool(ledger, reading, launcher, options.jobs, stderr_line)


def rules_of(options: Options) -> Rules:
    """Return the rules that the options fix."""
    return Rules(LookPlan(options.planned_looks), options.margin, options.alpha, options.exact)


def _typed_arms(options: Options) -> list[ArmCommand]:
    """Return the arms of a=... and b=..., or of a file, with a copy of their code.

    Raises:
        UserError: if there are not two, or one is none.
    """
    if options.arms is not None:
        if options.a is not None or options.b is not None:
            raise UserError(f"arms={options.arms} has the arms already: leave out a= and b=.")
        return read_arms(options.arms, options.shell)
    if options.a is None or options.b is None:
        missing = "a" if options.a is None else "b"
        raise UserError(f"{missing}=... is missing: two commands are compared, a=... and b=...")
    return make_arms({"a": options.a, "b": options.b}, options.shell)


@dataclass
class Bench:
    """Measures arms on seeds, and remembers what it measured.

    Attributes:
        arms: the arms by name.
        workers: what runs them.
        first_seed: the seed with which each arm begins.
        sign: 1 if a lower metric is better, else -1.
        outcomes: all runs so far.
    """

    arms: Mapping[str, ArmCommand]
    workers: RunPool
    first_seed: int
    sign: int
    outcomes: dict[Request, Outcome] = field(default_factory=dict)

    def measure(self, names: Sequence[str], n: int) -> dict[str, Costs]:
        """Return the costs of some arms on the first n seeds; NaN for a diverged run.

        Raises:
            RunsFailed: if a run has no number.
        """
        seeds = range(self.first_seed, self.first_seed + n)
        wanted = [Request(self.arms[name], seed) for seed in seeds for name in names]
        found = self.workers.run(wanted)
        self.outcomes |= found
        if any(outcome.state == State.FAILED for outcome in found.values()):
            raise RunsFailed
        return {
            name: np.array([self.sign * found[Request(self.arms[name], seed)].value for seed in seeds])
            for name in names
        }

    def summaries(self) -> list[ArmSummary]:
        """Return what each arm's runs gave."""
        return [
            ArmSummary.of(arm, [outcome for request, outcome in self.outcomes.items() if request.arm == arm])
            for arm in self.arms.values()
        ]

    def seconds(self, arm: str) -> float:
        """Return the mean time of a run of an arm."""
        times = [outcome.seconds for request, outcome in self.outcomes.items() if request.arm == self.arms[arm]]
        return float(np.mean(times)) if times else 0.0


class TimeBudget:
    """Says whether a look is affordable, by the time that runs have taken so far.

    Args:
        minutes: the budget; None for no limit.
        jobs: runs at the same time.
        bench: the runs so far.
    """

    def __init__(self, minutes: float | None, jobs: int, bench: Bench) -> None:
        self._minutes, self._jobs, self._bench = minutes, jobs, bench
        self._began = time.monotonic()
        self.spent = False

    def goes_on(self, look: int, comparisons: Sequence[ArmComparison]) -> bool:
        """Return whether the look is expected to end within the budget."""
        if self._minutes is None:
            return True
        names = [comparisons[0].first, *(comparison.other for comparison in comparisons)]
        new = look - comparisons[0].n
        expected = new * sum(map(self._bench.seconds, names)) / self._jobs
        self.spent = time.monotonic() - self._began + expected > 60 * self._minutes
        return not self.spent


def open_log(folder: Path, facts: Mapping[str, Any], rules: Rules) -> LookLog:
    """Return the looks of a comparison, after making sure that its rules are those with which it began.

    Raises:
        UserError: if they are others.
    """
    fixed = {"looks": list(rules.plan.looks), "margin": rules.margin, "alpha": rules.alpha, "exact": rules.exact}
    with locked(folder / ".lock"):
        path = folder / "plan.jsonl"
        known = read_record_lines(path, _PLAN)
        if not known:
            append_json_line(path, {**facts, "rules": fixed})
    for key, value in (known[0]["rules"] if known else fixed).items():
        if fixed[key] != value:
            typed, began = (_as_typed(key, v) for v in (fixed[key], value))
            raise UserError(
                f"{typed} is not allowed: this comparison began with {began}, and what was planned "
                "beforehand stays. A new plan needs new seeds (first_seed=...), or another folder (out=...)."
            )
    return LookLog(folder / "looks.jsonl", rules.plan)


def _as_typed(key: str, value: Any) -> str:
    """Return a rule as it is typed."""
    if key == "exact":
        return f"test={'ranks' if value else 't'}"
    return f"{key}={','.join(map(str, value)) if isinstance(value, list) else f'{value:g}'}"


def compare_commands(options: Options) -> Report:
    """Run the comparison that the options describe, and return its report."""
    rules, arms = rules_of(options), _typed_arms(options)
    _ = options.reading  # refused before anything is written
    source = Path.cwd()
    arms = freeze(arms, source, options.out, options.code_paths)
    workers = open_workers(options)
    sign = 1 if options.better == "lower" else -1
    bench = Bench({arm.name: arm for arm in arms}, workers, options.first_seed, sign)
    identity = {
        "arms": {arm.name: arm.words(0) for arm in arms},
        "code": arms[0].code,
        "metric": options.metric,
        "better": options.better,
        "first_seed": options.first_seed,
    }
    folder = workers.ledger.trial_folder(identity)
    log = open_log(folder, {**identity, "commit": git_commit(source)}, rules)
    budget = TimeBudget(options.budget, options.jobs, bench)
    comparisons, failures = list[ArmComparison](), list[str]()
    try:
        comparisons = run_trial([arm.name for arm in arms], rules, bench.measure, log, budget.goes_on)
    except RunsFailed:
        failures = list(first_failures(bench.outcomes))
    except ConstantArm as error:
        failures = [str(error)]
    notes = ["The budget of time is spent."] if budget.spent else []
    earlier = [line for line in workers.ledger.lines("verdict") if _is_rival(line, identity, folder)]
    if earlier:
        notes.append(
            f"These commands were judged {len(earlier)} times before, with other code, seeds or machine: each of them "
            "has a chance of error of its own, alpha."
        )
    report = comparison_report(comparisons, bench.summaries(), rules, options.better, failures, notes, workers.started)
    report.facts |= {"folder": str(folder), "ledger": str(workers.ledger.out / "ledger.jsonl")}
    _keep(report, folder, workers.ledger, identity)
    return report


def _is_rival(line: Mapping[str, Any], identity: Mapping[str, Any], folder: Path) -> bool:
    return line["arms"] == identity["arms"] and line["metric"] == identity["metric"] and line["trial"] != folder.name


def _keep(report: Report, folder: Path, ledger: Ledger, identity: Mapping[str, Any]) -> None:
    """Store a verdict beside its runs, and in the ledger unless it is there."""
    write_json(folder / "verdict.json", finite(report.as_json()))
    known = [line for line in ledger.lines("verdict") if line["trial"] == folder.name]
    if not known or known[-1]["exit_code"] != report.exit_code:
        facts = {"arms": identity["arms"], "metric": identity["metric"]}
        ledger.note("verdict", trial=folder.name, verdict=report.headline, exit_code=report.exit_code, **facts)
