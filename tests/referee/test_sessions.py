"""Sessions: what is accepted, what is run, what is counted; and, by simulation, what is promised."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.referee.sessions import is_hopeless
from lmablate.referee.trial import ArmComparison, Rules, Ruling, run_trial
from tests.evidence.helpers import within_binomial_bound
from tests.referee.helpers import judge, write_script
from tests.referee.test_compare import LOSS, executions

KEYS = ["metric=log:loss (.+)", "looks=4,8", "proposals=10", "test=t"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(folder: Path, *keys: str) -> str:
    body = f'echo "$arm $seed" >> {folder}/executions\n{LOSS}\necho "loss $loss"'
    command = write_script(folder, body)
    assert judge(f"base={command} worse", *KEYS, *keys, "jobs=4") == 0
    return command


def propose(command: str, arm: str, *keys: str) -> int:
    return judge(f"proposal={command} {arm}", "jobs=4", *keys)


def test_a_better_proposal_becomes_the_baseline_and_new_seeds_follow(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = begin(here)
    assert propose(command, "same") == 0
    assert "Proposal 1 is accepted. The session has 1 proposal of 10: 1 accepted, 0 crashed" in capsys.readouterr().out
    assert propose(command, "worse") != 0
    assert "Proposal 2 is not accepted" in capsys.readouterr().out
    runs = [line.split() for line in executions(here)]
    assert sorted(int(seed) for arm, seed in runs if arm == "same") == [0, 1, 2, 3, 8, 9, 10, 11]
    assert sorted(int(seed) for arm, seed in runs if arm == "worse") == [0, 1, 2, 3, 8, 9, 10, 11]


@pytest.mark.slow
def test_proposals_share_the_runs_of_the_baseline_unless_seeds_are_fresh(here: Path) -> None:
    command = begin(here)
    assert propose(command, "worst1") != 0
    assert propose(command, "worst12") != 0
    base = [line for line in executions(here) if line.startswith("worse ")]
    assert len(base) == len({*base}) <= 8
    (here / "executions").unlink()
    assert judge(f"base={command} worse", *KEYS, "seeds=fresh", "out=other", "jobs=4") == 0
    assert propose(command, "worst1", "out=other") != 0
    assert propose(command, "worst12", "out=other") != 0
    base = [line for line in executions(here) if line.startswith("worse ")]
    assert len(base) == len({*base}) >= 8


def test_a_proposal_that_was_judged_is_not_judged_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = begin(here)
    code = propose(command, "worst1")
    capsys.readouterr()
    before = executions(here)
    assert propose(command, "worst1") == code
    assert "It was judged before, as number 1" in capsys.readouterr().out
    assert executions(here) == before


@pytest.mark.slow
def test_code_that_was_edited_in_place_is_a_proposal_and_the_baseline_stays_what_it_was(here: Path) -> None:
    script = here / "train.sh"
    body = f"{LOSS.replace('worse) plus=50', 'worse) plus=20')}\necho loss $loss"
    command = write_script(here, body)
    assert judge(f"base={command} worse", *KEYS) == 0
    script.write_text(script.read_text().replace("plus=20", "plus=0").replace("* 31", "* 5"))
    assert propose(command, "worse") == 0
    script.write_text(script.read_text().replace("plus=0", "plus=10"))
    assert propose(command, "worse") != 0


def test_what_crashes_or_diverges_is_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = begin(here)
    (here / "crash.sh").write_text("exit 1\n")
    (here / "diverge.sh").write_text("echo loss nan\n")
    assert judge("proposal=sh crash.sh {seed}", "jobs=4") == 1
    assert "Proposal 1 is crashed" in capsys.readouterr().out
    assert judge("proposal=sh diverge.sh {seed}", "jobs=4") != 0
    assert "Proposal 2 is not accepted" in capsys.readouterr().out
    assert propose(command, "same", "format=json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["session"] == {"proposals": 3, "accepted": 1, "crashed": 1, "diverged": 1}


def test_a_session_ends_when_its_proposals_are_spent(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = begin(here)[:-7]
    ledger = here / "judge" / "ledger.jsonl"
    assert propose(f"{command} {{seed}}", "same") == 0
    (line,) = [text for text in ledger.read_text().splitlines() if '"event": "proposal"' in text]
    begun = [text for text in ledger.read_text().splitlines() if '"event": "begun"' in text]
    with ledger.open("a") as file:
        for number in range(2, 11):
            for text in (*begun, line):
                file.write(json.dumps(json.loads(text) | {"number": number}) + "\n")
    capsys.readouterr()
    assert propose(f"{command} {{seed}}", "worst1") == 2
    assert "proposals=10 are spent: the session is over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["proposal=sh train.sh {seed} worse"], "is the baseline itself, with the same code"),
        (["proposal=sh train.sh {seed} x", "out=none"], "has no session in none: begin one"),
        (["base=sh train.sh {seed} x", *KEYS], "a session has begun in judge"),
        (
            ["proposal=sh train.sh {seed} x", "alpha=0.1"],
            "alpha=0.1 is not allowed: this session began with alpha=0.05",
        ),
        (["proposal=sh train.sh {seed} x", "metric=log:x"], "this session began with metric=log:loss (.+)"),
        (["proposal=sh train.sh x"], "it has no {seed}"),
        (["proposal=sh train.sh {seed} x", "first_seed=9"], "first_seed=9 is of no use here"),
        (["base=sh train.sh {seed} x", "out=other"], "metric=... is missing"),
    ],
)
def test_a_mistake_in_a_session_gets_one_sentence(
    arguments: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(here)
    capsys.readouterr()
    assert judge(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not (here / "other").exists()


def simulate(rng: np.random.Generator, proposals: int, plan: LookPlan, fresh: bool) -> bool:
    """Return whether any of so many null proposals is accepted, with the rule of a session."""
    base = rng.normal(size=plan.last)
    rules = Rules(plan, alpha=2 * 0.05 / proposals, exact=True)
    for _ in range(proposals):
        base = rng.normal(size=plan.last) if fresh else base
        values = {"baseline": base, "proposal": rng.normal(size=plan.last)}

        def measure(names: Sequence[str], n: int, values: Mapping[str, np.ndarray] = values) -> dict[str, np.ndarray]:
            return {name: values[name][:n] for name in names}

        def goes_on(look: int, comparisons: Sequence[ArmComparison]) -> bool:
            return not is_hopeless(comparisons[0])

        (found,) = run_trial(["proposal", "baseline"], rules, measure, LookLog(None, plan), goes_on)
        if found.ruling == Ruling.BETTER:
            return True
    return False


@pytest.mark.slow
def test_exact_ranks_decide_unless_the_session_began_with_the_t_test(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 8 seeds that are all better p is 2^-8, times 2 looks: enough for alpha .05 shared by 5, not by 10."""
    for proposals, code in ((5, 0), (10, 4)):
        out = f"out=session{proposals}"
        command = write_script(here, f"{LOSS}\necho loss $loss")
        keys = [KEYS[0], "looks=4,8", f"proposals={proposals}", out]
        assert judge(f"base={command} worse", *keys) == 0
        assert judge(f"proposal={command} same", out, "jobs=4") == code
    assert "8 seeds each, look 2 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("fresh", [False, True])
def test_null_proposals_are_rarely_accepted(fresh: bool) -> None:
    """60 sessions of 20 null proposals; scripts/simulate_judge.py has as many as docs/judge.md reports."""
    rng = np.random.default_rng(0)
    accepted = sum(simulate(rng, 20, LookPlan((4, 8, 16)), fresh) for _ in range(60))
    assert within_binomial_bound(accepted, 60, 0.05)
