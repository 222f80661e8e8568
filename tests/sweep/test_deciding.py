"""Seeds until decided, by made-up readings: what is trained, what stops, and that an interruption changes nothing."""

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lmablate.errors import UserError
from lmablate.evidence import Claim, RunTable, looks
from lmablate.evidence.looks import LookPlan
from lmablate.evidence.predicates import GreaterThan, Lower, LowestOf, Predicate
from lmablate.evidence.rate_predicates import LowerAtBestLr
from lmablate.evidence.tables import Levels
from lmablate.evidence.trend_predicates import SlopeWith
from lmablate.files import append_json_line
from lmablate.sweep import deciding
from lmablate.sweep.deciding import LookReport, SeedTrainer, begin_looks, choose_claims
from lmablate.sweep.growing import GrowingSweep
from lmablate.sweep.jobs import Job, Sweep, expand_sweep
from tests.evidence.helpers import Runs, claim_of
from tests.tiny import SMALL

PLAN = LookPlan((4, 8, 16))
ARMS = ("pre", "post", "sandwich")


def lower_than(worse: str, margin: float = 0.02) -> Lower:
    """The claim that pre-norm has a lower loss than another norm."""
    better: Levels = {"model/norm": "pre"}
    return Lower(experiment="pair", metric="val/loss", margin=margin, better=better, worse={"model/norm": worse})


CLAIMS = [claim_of(lower_than("post"), id="C1"), claim_of(lower_than("sandwich"), id="C2")]


@cache
def jobs_of(line: tuple[str, ...]) -> list[Job]:
    """The jobs of a command line; composing them is most of the time of these tests."""
    return expand_sweep(line).jobs


def values_of(line: list[str], key: str) -> list[str]:
    """The values that a command line gives a key."""
    return next(argument for argument in line if argument.startswith(f"{key}=")).partition("=")[2].split(",")


class Killed(BaseException):
    """The command is killed."""


@dataclass
class World:
    """An experiment of three arms whose runs cost nothing.

    Attributes:
        sweep: the experiment.
        effects: by how much the loss of an arm is higher, and the spread of it over seeds.
        events: calls `tick` where the command may be killed.
    """

    sweep: GrowingSweep
    effects: Mapping[str, tuple[float, float]]
    tick: Callable[[], None] = lambda: None
    lines: list[list[str]] = field(default_factory=list)

    @property
    def runs_dir(self) -> Path:
        return next(iter(self.sweep.runs.values())).folder.parent

    @property
    def folder(self) -> Path:
        return self.runs_dir / "decide" / "pair"

    def train(self, line: list[str]) -> None:
        """Finish the runs of a sweep, one by one."""
        self.lines.append(line)
        for norm, seed in product(values_of(line, "model/norm"), map(int, values_of(line, "seed"))):
            run = self.sweep.runs[f"norm={norm}", seed]
            self.tick()
            (run.folder / "experiments").mkdir(parents=True, exist_ok=True)
            (run.folder / "experiments" / "pair").write_text("{}")
            run.metrics_path.write_text(json.dumps({"step": 1, "tokens": 7200, "tokens_per_s": 2}) + "\n")
            run.set_status("done")

    def read(self, ids: Mapping[str, Collection[str]]) -> RunTable:
        """Return the losses of runs."""
        self.tick()
        runs = Runs()
        for (arm, seed), run in self.sweep.runs.items():
            if run.id in ids["pair"]:
                norm = arm.removeprefix("norm=")
                effect, spread = self.effects[norm]
                own = np.random.default_rng([seed, ARMS.index(norm)]).normal()
                runs.add("pair", seed, {"model/norm": norm})("val/loss", [3 + effect + spread * own])
        return runs.run_table

    def decide(
        self, budget: float | None = None, plan: LookPlan = PLAN, claims: Sequence[Claim] = CLAIMS
    ) -> list[LookReport]:
        sweeps = {"pair": self.sweep}
        log = begin_looks(self.folder, plan, sweeps, choose_claims(claims, sweeps))
        return [*SeedTrainer(sweeps, claims, log, 0, budget, self.read, self.train).looks()]

    @property
    def trained(self) -> dict[str, int]:
        """The number of finished runs by arm."""
        done = [arm for (arm, _), run in self.sweep.runs.items() if run.status()["state"] == "done"]
        return {norm: done.count(f"norm={norm}") for norm in ARMS}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> GrowingSweep:
    runs = tmp_path_factory.mktemp("decide") / "runs"
    arguments = ["-m", "model/norm=pre,post,sandwich", "name=pair", *SMALL, *corpus, f"runs_dir={runs}"]
    return GrowingSweep.of(arguments, range(PLAN.last))


@pytest.fixture
def world(grown: GrowingSweep) -> Callable[..., World]:
    def make(post: tuple[float, float], sandwich: tuple[float, float]) -> World:
        made = World(grown, {"pre": (0, 0.01), "post": post, "sandwich": sandwich})
        shutil.rmtree(made.runs_dir, ignore_errors=True)
        made.folder.mkdir(parents=True)
        return made

    return make


CLEAR, HIDDEN, SLIGHT = (0.1, 0.01), (0.0, 3.0), (0.012, 0.01)
SCENES = {
    "both are clear at once": (CLEAR, CLEAR, ("decided", 4), ("decided", 4)),
    "one needs more seeds": (CLEAR, SLIGHT, ("decided", 4), ("decided", 16)),
    "one is hopeless": (CLEAR, HIDDEN, ("decided", 4), ("futile", 8)),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_only_what_an_open_claim_needs_is_trained(scene: tuple, world: Callable[..., World]) -> None:
    post, sandwich, *expected = scene
    made = world(post, sandwich)
    reports = made.decide()
    assert [(str(s.progress), s.look) for s in reports[-1].standings] == expected
    assert made.trained == {"pre": reports[-1].n, "post": expected[0][1], "sandwich": expected[1][1]}
    assert reports[-1].spent == pytest.approx(3600 * sum(made.trained.values()))


def outcome(world: World, reports: Sequence[LookReport]) -> tuple:
    """All that a command leaves: verdicts, log, and runs."""
    rows = [(s.progress, s.look, s.verdict.row()) for s in reports[-1].standings]
    return rows, (world.folder / "looks.jsonl").read_text(), (world.folder / "plan.jsonl").read_text(), world.trained


def test_stopped_anywhere_and_continued_it_ends_as_if_uninterrupted(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, left = LookPlan((3, 5)), -1

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    def append(path: Path, value: object) -> None:
        tick()
        append_json_line(path, value)
        tick()

    for module in (looks, deciding):
        monkeypatch.setattr(module, "append_json_line", append)
    undisturbed = world(CLEAR, SLIGHT)
    undisturbed.tick = tick
    reports = undisturbed.decide(plan=plan)
    expected, events = outcome(undisturbed, reports), -1 - left
    assert [report.trained for report in reports] == [9, 4]
    assert events > 20
    for moment in {1, 3, *range(5, 12, 3), *range(12, events + 1)}:
        left = moment
        stopped = world(CLEAR, SLIGHT)
        stopped.tick = tick
        with pytest.raises(Killed):
            stopped.decide(plan=plan)
        assert outcome(stopped, stopped.decide(plan=plan)) == expected


def test_a_run_that_has_ended_is_not_launched_again(world: Callable[..., World]) -> None:
    made = world(CLEAR, SLIGHT)
    made.decide()
    launched = len(made.lines)
    reports = made.decide()
    assert len(made.lines) == launched == 3
    assert [report.trained for report in reports] == [0, 0, 0]
    assert [values_of(line, "seed")[0] for line in made.lines] == ["0", "4", "8"]


def test_a_run_of_another_experiment_is_counted_to_this_one(world: Callable[..., World]) -> None:
    made = world(CLEAR, CLEAR)
    made.decide()
    (made.sweep.runs["norm=pre", 2].folder / "experiments" / "pair").unlink()
    reports = made.decide()
    assert [reports[0].trained, made.lines[-1][-1]] == [0, "seed=2"]


def test_a_diverged_run_has_ended(world: Callable[..., World]) -> None:
    made = world(CLEAR, CLEAR)
    made.decide()
    made.sweep.runs["norm=post", 1].set_status("failed", error="diverged at step 3")
    assert made.sweep.due(["norm=post"], range(4)) == []
    made.sweep.runs["norm=post", 1].set_status("failed", error="out of memory")
    assert made.sweep.due(["norm=post"], range(4)) == [("norm=post", 1)]


def test_a_run_that_failed_ends_the_command(world: Callable[..., World], capsys: pytest.CaptureFixture[str]) -> None:
    made = world(CLEAR, CLEAR)
    made.train = lambda line: None
    with pytest.raises(SystemExit, match="1"):
        made.decide()
    assert "is missing: run the same command again to continue" in capsys.readouterr().err
    assert len((made.folder / "looks.jsonl").read_text().splitlines()) == 1


HOUR = 3600.0


@pytest.mark.parametrize(("hours", "seen"), [(19, [4]), (20, [4, 8]), (35, [4, 8]), (36, [4, 8, 16])])
def test_no_look_begins_that_would_exceed_the_budget(
    hours: float, seen: list[int], world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = SimpleNamespace(hours=1.0)
    monkeypatch.setattr(deciding, "audit_arm", lambda name, job: audited)
    made = world(CLEAR, SLIGHT)
    reports = made.decide(hours * HOUR)
    assert [report.n for report in reports] == seen
    assert reports[-1].exceeds == (seen[-1] < 16)
    assert reports[-1].spent <= hours * HOUR
    assert [report.n for report in made.decide()] == [4, 8, 16]  # a larger budget goes on


def test_a_first_look_beyond_the_budget_is_refused(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "audit_arm", lambda name, job: SimpleNamespace(hours=1.0))
    with pytest.raises(UserError, match="The first look takes about 12 h of training"):
        world(CLEAR, CLEAR).decide(11 * HOUR)


def test_the_cost_of_the_next_look_is_said(world: Callable[..., World]) -> None:
    first, *_, last = world(CLEAR, SLIGHT).decide()
    text = "\n".join(first.lines())
    assert "4 seeds per arm: 12 runs trained; 12 h of training so far." in text
    assert "C1 SUPPORTED (decided; 4 seeds)" in text
    assert "Next look, 8 seeds per arm: 8 runs, about 8.0 h one at a time, of pair: norm=pre, norm=sandwich." in text
    assert "Next look" not in "\n".join(last.lines())


CHANGES: dict[str, tuple[dict, str]] = {
    "another look": ({"plan": LookPlan((4, 8))}, r"the looks have changed since .*looks=4,8, looks=4,8,16"),
    "a look less": ({"plan": LookPlan((4, 16))}, "the looks have changed"),
    "a claim less": ({"claims": CLAIMS[:1]}, r"the claims have changed since these looks began \(C2\)"),
    "another margin": ({"claims": [CLAIMS[0], claim_of(lower_than("sandwich", 0.1), id="C2")]}, r"claims .*\(C2\)"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_a_changed_plan_is_refused(change: dict, words: str, world: Callable[..., World]) -> None:
    made = world(CLEAR, SLIGHT)
    made.decide()
    before = outcome(made, made.decide())
    with pytest.raises(UserError, match=words):
        made.decide(**change)
    assert outcome(made, made.decide()) == before


def test_changed_arms_are_refused_and_another_launcher_is_not(world: Callable[..., World]) -> None:
    made = world(CLEAR, CLEAR)
    expected = outcome(made, made.decide())
    seeds = range(PLAN.last)
    other = GrowingSweep.of([*made.sweep.arguments, "optim.lr=0.1"], seeds)
    with pytest.raises(UserError, match="the arms have changed since these looks began"):
        begin_looks(made.folder, PLAN, {"pair": other}, CLAIMS)
    same = replace(made, sweep=GrowingSweep.of([*made.sweep.arguments, "hydra/launcher=basic"], seeds))
    assert outcome(same, same.decide()) == expected


def test_seeds_and_their_first_one_belong_to_the_plan(world: Callable[..., World]) -> None:
    made = world(CLEAR, CLEAR)
    made.decide()
    shifted = GrowingSweep.of(made.sweep.arguments, range(1, PLAN.last + 1))
    with pytest.raises(UserError, match=r"the seeds have changed .*first_seed=0, first_seed=1"):
        begin_looks(made.folder, PLAN, {"pair": shifted}, CLAIMS)
    with pytest.raises(UserError, match="seed=3,4 is not allowed: the looks choose the seeds"):
        GrowingSweep.of([*made.sweep.arguments, "seed=3,4"], range(2))


def test_claims_that_these_arms_cannot_decide_are_refused(grown: GrowingSweep) -> None:
    typo = claim_of(lower_than("pots"))
    pilot = claim_of(LowerAtBestLr(**{**vars(lower_than("post")), "pilot_seeds": [9]}))
    for claim, words in (
        (typo, "Claim C1: model/norm=pots is no arm of pair"),
        (pilot, "Claim C1: pilot_seeds is not"),
    ):
        with pytest.raises(UserError, match=words):
            choose_claims([claim], {"pair": grown})
    with pytest.raises(UserError, match="No claim is about other alone: claims are about pair"):
        choose_claims(CLAIMS, {"other": grown})


PAIR: Levels = {"model/norm": "pre"}
NAMED = {
    "levels": (lower_than("post"), {"norm=pre", "norm=post"}),
    "none: all arms": (
        SlopeWith(experiment="pair", metric="val/loss", margin=0.1, factor="optim.lr", slope=0),
        {f"norm={norm}" for norm in ARMS},
    ),
    "an unknown factor: all arms": (
        GreaterThan(experiment="pair", metric="val/loss", arm={"tuned.x": "1"}, constant=0),
        {f"norm={norm}" for norm in ARMS},
    ),
    "a key of the config": (
        GreaterThan(experiment="pair", metric="val/loss", arm=PAIR | {"train.max_steps": "12.0"}, constant=0),
        {"norm=pre"},
    ),
    "a list of levels": (
        LowestOf(experiment="pair", metric="val/loss", arm=PAIR, others=[{"model/norm": "sandwich"}]),
        {"norm=pre", "norm=sandwich"},
    ),
}


@pytest.mark.parametrize(("predicate", "arms"), NAMED.values(), ids=NAMED)
def test_the_arms_that_a_claim_needs(predicate: Predicate, arms: set[str], grown: GrowingSweep) -> None:
    assert grown.arms_of(predicate) == arms


GRID = ["-m", "model/norm=pre,post", "optim.lr=0.1,0.01", "name=grid"]
BOXES = {
    "all": ([(a, 0) for a in ("pre 0.1", "pre 0.01", "post 0.1", "post 0.01")], 1),
    "no box": ([("pre 0.1", 0), ("post 0.01", 0)], 2),
    "other seeds": ([("pre 0.1", 0), ("pre 0.01", 1)], 2),
    "several seeds": ([("pre 0.1", 0), ("pre 0.1", 1)], 1),
}


@pytest.mark.parametrize(("due", "lines"), BOXES.values(), ids=BOXES)
def test_the_command_lines_train_exactly_what_is_due(due: list, lines: int) -> None:
    jobs = jobs_of((*GRID, "seed=0"))
    base = Sweep(jobs, ["model/norm", "optim.lr"])
    names = [("norm={} optim.lr={}".format(*arm.split()), seed) for arm, seed in due]
    found = GrowingSweep(GRID, base, {}).command_lines(names)
    jobs = [job for line in found for job in jobs_of(tuple(line))]
    trained = [(job.arm(base.factors), job.seed) for job in jobs]
    assert len(found) == lines
    assert sorted(trained) == sorted(names)
    assert {job.cfg.name for job in jobs} == {"grid"}


def test_levels_of_an_experiment_are_narrowed_where_it_sweeps_over_them() -> None:
    arguments = ["experiment=weight_tying"]
    base = expand_sweep([*arguments, "seed=0"])
    (line,) = GrowingSweep(arguments, base, {}).command_lines([(arm, 5) for arm in base.arms if "tying=true" in arm])
    jobs = expand_sweep(line).jobs
    assert {(job.choices["model/tying"], job.choices["model/init"], job.seed) for job in jobs} == {
        ("true", "cs336", 5), ("true", "scaled", 5),
    }  # fmt: skip
    assert len(jobs) == 2
