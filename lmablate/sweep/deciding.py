"""Train seeds until claims are decided: the next look's seeds, for the arms of the claims that are still open.

A command that was stopped goes through the looks again from the first one: what is trained is not trained again, and
the same runs give the same verdicts, so it goes on as if it had not been stopped.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.errors import UserError, counted, duration, print_error
from lmablate.evidence.claims import Claim
from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.evidence.sequential import ClaimState, LookJudge, Standing
from lmablate.evidence.tables import RunTable
from lmablate.files import append_json_line, object_with, read_record_lines
from lmablate.runs.run import Run
from lmablate.sweep.arm_audit import audit_arm
from lmablate.sweep.cost import training_seconds
from lmablate.sweep.growing import GrowingSweep, has_ended
from lmablate.sweep.lr_search import launch

# Reads the runs of each experiment, given by their ids.
ReadRuns = Callable[[Mapping[str, Collection[str]]], RunTable]
# Trains a sweep, given the arguments of `lmablate.train`.
Launch = Callable[[list[str]], None]


@dataclass(frozen=True)
class NextLook:
    """What a look would train.

    Attributes:
        n: the number of seeds per arm.
        arms: the arms that open claims need, by experiment.
        due: the arms and seeds to launch, by experiment.
        runs: number of runs to train; those that have ended are launched only to be counted to the experiment.
        seconds: the estimated training time of these runs, one at a time.
    """

    n: int
    arms: Mapping[str, Collection[str]]
    due: Mapping[str, Sequence[tuple[str, int]]]
    runs: int
    seconds: float


@dataclass(frozen=True)
class LookReport:
    """What a look has found.

    Attributes:
        n: the number of seeds per arm.
        standings: how each claim stands.
        trained: number of runs that this look has trained.
        spent: seconds of training of all runs of the looks so far.
        following: the next look; None if no claim is open, or no look is left.
        exceeds: whether the next look is not begun because it would exceed the budget.
    """

    n: int
    standings: Sequence[Standing]
    trained: int
    spent: float
    following: NextLook | None
    exceeds: bool

    def lines(self) -> Iterator[str]:
        """Yield what is decided, at what cost, and what the next look would cost."""
        trained = counted(self.trained, "run")
        yield f"{self.n} seeds per arm: {trained} trained; {duration(self.spent)} of training so far."
        for standing in self.standings:
            verdict, why = standing.verdict, str(standing.progress)
            if standing.progress == ClaimState.FUTILE and standing.chance is not None:
                why = f"futile, a verdict at the last look has probability {standing.chance:.2f}"
            elif standing.chance is not None:
                why = f"open, a verdict at the last look has probability {standing.chance:.2f}"
            yield f"  {verdict.claim.id} {verdict.kind} ({why}; {standing.look} seeds). {verdict.sentence}"
        if self.following is not None:
            arms = "; ".join(f"{name}: {', '.join(sorted(arms))}" for name, arms in self.following.arms.items() if arms)
            cost = f"{counted(self.following.runs, 'run')}, about {duration(self.following.seconds)} one at a time"
            yield f"Next look, {self.following.n} seeds per arm: {cost}, of {arms}."
        if self.exceeds:
            yield "It is not begun, because it would exceed the budget: the same command with a larger budget goes on."


def choose_claims(claims: Sequence[Claim], sweeps: Mapping[str, GrowingSweep]) -> list[Claim]:
    """Return the claims that these experiments alone can decide.

    Raises:
        UserError: if there is none, or one names an arm that is not there, or has pilot seeds of its own.
    """
    chosen = [claim for claim in claims if claim.experiments <= sweeps.keys()]
    if not chosen:
        known = ", ".join(sorted({name for claim in claims for name in claim.experiments}))
        raise UserError(f"No claim is about {', '.join(sweeps)} alone: claims are about {known}; see claims=FOLDER.")
    for claim in chosen:
        for predicate in claim.all_of:
            if getattr(predicate, "pilot_seeds", None):
                raise UserError(
                    f"Claim {claim.id}: pilot_seeds is not allowed here, because the looks train no other seeds: leave "
                    "it out, or choose each arm's rate beforehand with lmablate.tune."
                )
            try:
                sweeps[predicate.experiment].arms_of(predicate)
            except UserError as error:
                raise UserError(f"Claim {claim.id}: {error}") from None
    return chosen


def begin_looks(folder: Path, plan: LookPlan, sweeps: Mapping[str, GrowingSweep], claims: Sequence[Claim]) -> LookLog:
    """Return the log of the looks, after making sure that all is as it was when they began.

    The arms are known by their runs' ids, which change with all that changes a result, and with nothing else.

    Args:
        folder: the folder of plan.jsonl and looks.jsonl; it is made if it does not exist.
        plan: the looks.
        sweeps: the experiments by name.
        claims: the family.

    Raises:
        UserError: if looks, claims or arms are others; the message says which.
    """
    seeds = sorted({seed for sweep in sweeps.values() for _, seed in sweep.runs})
    facts: dict[str, dict[str, Any]] = {
        "looks": {f"looks={','.join(map(str, plan.looks))}": True},
        "seeds": {f"first_seed={seeds[0]}": True},
        "claims": {claim.id: repr(claim.all_of) for claim in claims},
        "arms": {
            f"{name}: {arm}": [run.id for (other, _), run in sweep.runs.items() if other == arm]
            for name, sweep in sweeps.items()
            for arm in sweep.base.arms
        },
    }
    lines = read_record_lines(folder / "plan.jsonl", object_with({kind: {"type": "object"} for kind in facts}))
    for kind, now in facts.items():
        began = lines[0][kind] if lines else now
        if changed := sorted(key for key in {*began, *now} if began.get(key) != now.get(key)):
            raise UserError(
                f"{folder}: the {kind} have changed since these looks began ({', '.join(changed[:3])}), and what was "
                "planned before the runs stays: a new plan needs another name=..."
            )
    if not lines:
        append_json_line(folder / "plan.jsonl", facts)
    return LookLog(folder / "looks.jsonl", plan)


class SeedTrainer:
    """Trains the seeds of one look after the other, and judges.

    Args:
        sweeps: the experiments by name.
        claims: the family.
        looks: the log.
        first_seed: the first seed of each arm.
        budget: seconds of training of all runs of all looks that are not to be exceeded; None for no limit.
        read_runs: reads the runs.
        train: trains a sweep.
    """

    def __init__(
        self, sweeps: Mapping[str, GrowingSweep], claims: Sequence[Claim], looks: LookLog, first_seed: int,
        budget: float | None, read_runs: ReadRuns, train: Launch = launch,
    ) -> None:  # fmt: skip
        self._sweeps, self._plan, self._first_seed, self._budget = sweeps, looks.plan, first_seed, budget
        self._judge = LookJudge(claims, looks)
        self._read_runs, self._train = read_runs, train
        self._used: dict[str, Run] = {}

    def looks(self) -> Iterator[LookReport]:
        """Yield the report of each look, until no claim is open, no look is left, or the budget would be exceeded.

        Raises:
            UserError: if the first look would exceed the budget, or the runs of a look have changed.
            SystemExit: if a run failed for another reason than divergence.
        """
        todo: NextLook | None = self._plan_look(0)
        if self._exceeds(todo):
            raise UserError(f"The first look takes about {duration(todo.seconds)} of training: give a larger budget.")
        for place in range(len(self._plan.looks)):
            assert todo is not None
            self._train_look(todo)
            standings = self._judge.look(todo.n, self._read_runs(self._ids()))
            spent, done = self._spent(), todo
            last = todo.n == self._plan.last
            todo = None if last or not self._judge.open_claims else self._plan_look(place + 1)
            exceeds = todo is not None and self._exceeds(todo)
            yield LookReport(done.n, standings, done.runs, spent, todo, exceeds)
            if todo is None or exceeds:
                return

    def _plan_look(self, place: int) -> NextLook:
        n = self._plan.looks[place]
        arms: dict[str, set[str]] = {name: set() for name in self._sweeps}
        for claim in self._judge.open_claims:
            for predicate in claim.all_of:
                arms[predicate.experiment] |= self._sweeps[predicate.experiment].arms_of(predicate)
        due = {name: sweep.due(arms[name], self._seeds(n)) for name, sweep in self._sweeps.items()}
        to_train = [(name, key) for name, keys in due.items() for key in keys if not has_ended(self._run(name, key))]
        seconds = 0.0
        if self._budget is not None or place:
            per_run = {(name, arm): self._seconds(name, arm) for name, (arm, _) in dict.fromkeys(to_train)}
            seconds = sum(per_run[name, arm] for name, (arm, _) in to_train)
        return NextLook(n, arms, due, len(to_train), seconds)

    def _run(self, name: str, key: tuple[str, int]) -> Run:
        return self._sweeps[name].runs[key]

    def _seeds(self, n: int) -> range:
        return range(self._first_seed, self._first_seed + n)

    def _seconds(self, name: str, arm: str) -> float:
        """Return the training time of a run of an arm: the mean of those that were trained, else by timing steps."""
        sweep = self._sweeps[name]
        done = [run for (other, _), run in sweep.runs.items() if other == arm and run.status()["state"] == "done"]
        known = [seconds for seconds in map(training_seconds, done) if seconds]
        return sum(known) / len(known) if known else 3600 * audit_arm(arm, sweep.base.arms[arm]).hours

    def _exceeds(self, todo: NextLook) -> bool:
        return self._budget is not None and todo.runs > 0 and self._spent() + todo.seconds > self._budget

    def _spent(self) -> float:
        return sum(training_seconds(run) for run in self._used.values())

    def _train_look(self, todo: NextLook) -> None:
        for name, due in todo.due.items():
            sweep = self._sweeps[name]
            for line in sweep.command_lines(due):
                self._train(line)
            if left := sweep.due(todo.arms[name], self._seeds(todo.n)):
                run = sweep.runs[left[0]]
                print_error(f"{run.id} is {run.status()['state']}: run the same command again to continue.")
                sys.exit(1)
            used = {(arm, seed) for arm in todo.arms[name] for seed in self._seeds(todo.n)}
            self._used |= {run.id: run for key, run in sweep.runs.items() if key in used}

    def _ids(self) -> dict[str, list[str]]:
        """Return the ids of the runs of each experiment that the looks so far have used."""
        used = {
            name: [run.id for run in sweep.runs.values() if run.id in self._used]
            for name, sweep in self._sweeps.items()
        }
        return {name: ids for name, ids in used.items() if ids}
