"""Sessions: many proposals, one after the other, against a baseline that each accepted one replaces.

An agent or a leaderboard that accepts whatever ends lower in one run collects luck. Here proposal i is accepted if the
p-value of "it is no better than the baseline" is at most alpha_i, at any of the planned looks. With alpha_i = alpha/N
for the N proposals that a session may make,

    P(any proposal is accepted that is no better than the baseline of that time) <= alpha

by Bonferroni over the proposals and, within each, over its looks; whatever the dependence, so proposals may share the
runs of the baseline, and may stop at any look. A baseline that was accepted has runs that helped it to be accepted. So
after each acceptance all go on with new seeds. With seeds=fresh each proposal has seeds of its own: then the bound
holds for each proposal even given all that was seen before, at the price of running the baseline anew.

At so small a level a t test would rest on the tails of a normal distribution. So exact ranks decide, unless the session
began with test=t: with the default looks and N = 100 they can accept at 16 seeds, of which nearly all must be better.

A proposal whose measured effect is not positive at a look is given up, which costs no error.

    OUT/session.json      what was fixed when the session began
    OUT/ledger.jsonl      lines "begun" and "proposal", besides those of the runs
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmablate.errors import UserError, counted
from lmablate.evidence.looks import LookPlan
from lmablate.files import COUNT, FLAG, NUMBER, TEXT, Busy, locked, object_of, object_with, read_record, write_json
from lmablate.referee.arms import ArmCommand, make_arm
from lmablate.referee.compare import Bench, RunsFailed, TimeBudget, open_log, open_workers, rules_of
from lmablate.referee.ledger import ARM, Ledger, first_failures
from lmablate.referee.options import Options
from lmablate.referee.report import FAILED, Report, comparison_report, finite
from lmablate.referee.snapshot import freeze, git_commit
from lmablate.referee.trial import ArmComparison, ConstantArm, Rules, Ruling, run_trial
from lmablate.referee.workers import RunPool

_FILE = "session.json"
_PERHAPS_TEXT = {"type": ["string", "null"]}
# The keys that are fixed when a session begins.
_FIXED = {
    "metric": TEXT, "better": {"enum": ["lower", "higher"]}, "margin": NUMBER, "alpha": NUMBER,
    "looks": _PERHAPS_TEXT, "test": {"enum": ["auto", "t", "ranks"]}, "proposals": COUNT,
    "seeds": {"enum": ["shared", "fresh"]}, "steps": _PERHAPS_TEXT, "diverged": _PERHAPS_TEXT, "shell": FLAG,
}  # fmt: skip
_SCHEMA = object_with({"fixed": object_of(_FIXED), "base": ARM})


def judge_proposal(options: Options) -> Report:
    """Begin a session with base=..., or judge one proposal of a session that has begun, or both."""
    out = options.out.absolute()
    begins = options.base is not None
    if begins == (out / _FILE).exists():
        raise UserError(
            f"base={options.base} is not allowed: a session has begun in {options.out}; name another folder, out=..."
            if begins
            else f"proposal={options.proposal} has no session in {options.out}: begin one with base=... metric=..."
        )
    options = options if begins else _with_fixed(options, read_record(out / _FILE, _SCHEMA)["fixed"])
    _ = options.reading, LookPlan(options.planned_looks)
    typed = {key: getattr(options, key) for key in ("base", "proposal") if getattr(options, key) is not None}
    arms = {key: make_arm(key, command, options.shell) for key, command in typed.items()}
    frozen = dict(zip(arms, freeze(list(arms.values()), Path.cwd(), options.out, options.code_paths), strict=True))
    workers = open_workers(options)
    if begins:
        fixed = {key: getattr(options, key) for key in _FIXED}
        write_json(out / _FILE, {"fixed": fixed, "base": _arm_facts(frozen["base"]), "commit": git_commit(Path.cwd())})
    if options.proposal is None:
        most = counted(options.proposals, "proposal")
        line = f"A session has begun in {options.out}: up to {most}, alpha {options.alpha:g} for all together."
        return Report("session begun", 0, [line], {"session": str(out)})
    try:
        with locked(out / ".session.lock", timeout=0):
            return Session(options, workers).judge(frozen["proposal"])
    except Busy:
        raise UserError(f"out={options.out}: another proposal is being judged; one at a time.") from None


def _with_fixed(options: Options, fixed: Mapping[str, Any]) -> Options:
    """Return the options with what the session fixed; a key that was typed must agree."""
    defaults = Options()
    for key, value in fixed.items():
        typed = getattr(options, key)
        if typed not in (getattr(defaults, key), value):
            raise UserError(f"{key}={typed} is not allowed: this session began with {key}={value}, and that stays.")
    options = replace(options, **fixed)
    options.check()
    return options


def _arm_facts(arm: ArmCommand) -> dict[str, Any]:
    return {"command": arm.command, "shell": arm.shell, "code": arm.code, "source": str(arm.source)}


def _arm(facts: Mapping[str, Any], name: str) -> ArmCommand:
    arm = make_arm(name, facts["command"], facts["shell"])
    return replace(arm, code=facts["code"], source=Path(facts["source"]))


class Session:
    """The proposals of a session so far, as its ledger tells them.

    Args:
        options: the keys, with what the session fixed.
        workers: what runs commands.
    """

    def __init__(self, options: Options, workers: RunPool) -> None:
        self._options, self._workers = options, workers
        self._ledger: Ledger = workers.ledger
        self._ended = self._ledger.lines("proposal")
        self._base = read_record(self._ledger.out / _FILE, _SCHEMA)["base"]
        for line in self._ended:
            if line["accepted"]:
                self._base = line["arm"]

    def judge(self, proposal: ArmCommand) -> Report:
        """Judge one proposal, or return what was found when it was judged against this baseline before.

        Raises:
            UserError: if it is the baseline, or the session has no proposal left.
        """
        base, arm = _arm(self._base, "baseline"), _arm(_arm_facts(proposal), "proposal")
        for line in reversed(self._ended):
            same_base = self._base in (line["base"], line["arm"])  # the latter if it was accepted
            if same_base and line["arm"] == _arm_facts(arm) and not line["crashed"]:
                lines = [f"It was judged before, as number {line['number']}: {line['verdict']}.", *line["lines"]]
                return Report(line["verdict"], line["exit_code"], lines, line["facts"])
        if (base.command, base.code) == (arm.command, arm.code):
            raise UserError(f"proposal={arm.command} is the baseline itself, with the same code.")
        number = self._begin(base, arm)
        rules = rules_of(self._options)
        # The rule of `trial` is two-sided: half of its alpha is for "better", which alone is at stake here.
        rules = replace(rules, alpha=2 * self._options.alpha / self._options.proposals)
        return self._judge(base, arm, number, rules)

    def _begin(self, base: ArmCommand, arm: ArmCommand) -> int:
        """Return the number of a proposal, counted from 1, that is going to be judged, and note it."""
        ended = {line["number"] for line in self._ended}
        begun = self._ledger.lines("begun")
        facts = {"base": _arm_facts(base), "arm": _arm_facts(arm)}
        for line in begun:  # by a command that was stopped
            if line["number"] not in ended and {key: line[key] for key in facts} == facts:
                return line["number"]
        spent = sum(line["looked"] for line in self._ended) + sum(line["number"] not in ended for line in begun)
        if spent >= self._options.proposals:
            raise UserError(
                f"proposals={self._options.proposals} are spent: the session is over. Begin another, out=..."
            )
        self._ledger.note("begun", number=len(begun) + 1, **facts)
        return len(begun) + 1

    def _judge(self, base: ArmCommand, arm: ArmCommand, number: int, rules: Rules) -> Report:
        options = self._options
        accepted_before = sum(line["accepted"] for line in self._ended)
        block = accepted_before if options.seeds == "shared" else number
        sign = 1 if options.better == "lower" else -1
        arms = {"proposal": arm, "baseline": base}
        bench = Bench(arms, self._workers, block * rules.plan.last, sign)
        identity = {"number": number, "base": _arm_facts(base), "arm": _arm_facts(arm)}
        log = open_log(self._ledger.trial_folder(identity), identity, rules)
        budget = TimeBudget(options.budget, options.jobs, bench)

        def goes_on(look: int, comparisons: Sequence[ArmComparison]) -> bool:
            return not is_hopeless(comparisons[0]) and budget.goes_on(look, comparisons)

        comparisons, failures = list[ArmComparison](), list[str]()
        try:
            comparisons = run_trial(["proposal", "baseline"], rules, bench.measure, log, goes_on)
        except RunsFailed:
            failures = list(first_failures(bench.outcomes))
        except ConstantArm as error:
            failures = [str(error)]
        notes = ["The budget of time is spent."] if budget.spent else []
        started = self._workers.started
        report = comparison_report(comparisons, bench.summaries(), rules, options.better, failures, notes, started)
        return self._end(report, number, identity, comparisons, looked=bool(log.history("baseline")))

    def _end(
        self,
        report: Report,
        number: int,
        identity: Mapping[str, Any],
        comparisons: Sequence[ArmComparison],
        looked: bool,
    ) -> Report:
        """Note how a proposal ended, and return the report with the state of the session."""
        accepted = bool(comparisons) and comparisons[0].ruling == Ruling.BETTER
        crashed = report.exit_code == FAILED
        report.headline = "accepted" if accepted else "crashed" if crashed else f"not accepted, {report.headline}"
        line = {
            "number": number, "base": identity["base"], "arm": identity["arm"],
            "accepted": accepted, "crashed": crashed,
            "diverged": any(arm["diverged"] for arm in report.facts["arms"] if arm["name"] == "proposal"),
            "looked": looked, "verdict": report.headline, "exit_code": report.exit_code, "lines": report.lines,
            "facts": finite(report.facts),
        }  # fmt: skip
        self._ledger.note("proposal", **line)
        self._ended.append(line)
        counts = {name: sum(line[name] for line in self._ended) for name in ("accepted", "crashed", "diverged")}
        report.facts["session"] = {"proposals": len(self._ended), **counts}
        made = f"{counted(len(self._ended), 'proposal')} of {self._options.proposals}"
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        report.lines.append(f"Proposal {number} is {report.headline}. The session has {made}: {listed}.")
        return report


def is_hopeless(comparison: ArmComparison) -> bool:
    """Return whether a proposal is given up after a look: measured to be no better, or diverging more often."""
    return comparison.effect <= 0 or comparison.diverged[0] > comparison.diverged[1]
