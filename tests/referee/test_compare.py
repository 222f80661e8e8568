"""Comparisons of commands: verdicts and exit codes, arms from a file, where the metric is, and nothing done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmablate.referee.report import ArmSummary, budget_notes
from tests.referee.helpers import judge, write_script
from tests.tiny import ROOT

# A loss of 3 and some thousandths that depend on the seed and on the length of the arm's name, and what an arm adds.
LOSS = """
case $arm in worst*) plus=90;; worse) plus=50;; bit) plus=1;; none) plus=;; *) plus=0;; esac
noise=$(( (seed * 7919 + ${#arm} * 13 + 104729 + seed * ${#arm} * 31) % 17 ))
loss=3.$(printf %04d $(( plus * 10 + noise )))
"""
METRIC = "metric=log:loss (.+)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def counting_script(folder: Path) -> str:
    """A command that prints a loss, and notes outside of its own folder that it began and that it ended."""
    note = f">> {folder}/executions"
    body = f'echo "begin $arm $seed" {note}\n{LOSS}\nsleep 0.03\necho "loss $loss"\necho "end $arm $seed" {note}'
    return write_script(folder, body)


def executions(folder: Path) -> list[str]:
    return sorted((folder / "executions").read_text().splitlines())


def arms_of(command: str, a: str, b: str) -> list[str]:
    return [f"a={command} {a}", f"b={command} {b}", METRIC, "jobs=4"]


@pytest.mark.parametrize(
    ("a", "b", "keys", "code", "words"),
    [
        ("same", "worse", [], 0, "a is better than b by"),
        ("worse", "same", ["looks=3"], 5, "b is better than a by"),
        ("same", "worse", ["better=higher", "looks=3"], 5, "b is better than a by"),
        ("same", "diff1", ["margin=0.02"], 3, "a and b are equivalent: they differ by"),
        ("same", "diff1", ["looks=2"], 4, "It is open whether a is better than b"),
        ("same", "worse", ["margin=0.5", "looks=3"], 3, "less than the margin of 0.5"),
        ("same", "worse", ["shell=true", "looks=3"], 0, "a is better than b"),
        ("same", "worse", ["test=ranks", "looks=6"], 0, "p = 0.031, 6 seeds each, look 1 of 1"),
    ],
)
def test_the_verdict_is_the_exit_code(
    a: str, b: str, keys: list[str], code: int, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(*arms_of(counting_script(here), a, b), *keys) == code
    assert words in capsys.readouterr().out


def test_json_says_what_the_table_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(*arms_of(counting_script(here), "same", "worse"), "format=json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "a better"
    assert found["exit_code"] == 0
    (comparison,) = found["comparisons"]
    assert comparison["low"] < comparison["effect"] < comparison["high"]
    assert comparison["p"]["better"] <= 0.05
    assert json.loads((Path(found["folder"]) / "verdict.json").read_text())["verdict"] == "a better"


def test_the_same_command_again_runs_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = arms_of(counting_script(here), "same", "worse")
    assert judge(*arguments) == 0
    first, lines = executions(here), (here / "judge" / "ledger.jsonl").read_text()
    assert judge(*arguments) == 0
    assert executions(here) == first
    assert len(first) == len({*first}) == 16
    assert (here / "judge" / "ledger.jsonl").read_text() == lines
    assert "8 runs, 0 of them now." in capsys.readouterr().out


@pytest.mark.slow
def test_other_seeds_metrics_and_arms_share_what_is_run(here: Path) -> None:
    command = counting_script(here)
    assert judge(*arms_of(command, "same", "worse")) == 0
    assert judge(*arms_of(command, "worse", "same"), "looks=2,4") == 5
    assert judge(f"a={command} worse", f"b={command} thirdarm", METRIC, "jobs=4") == 5
    assert len(executions(here)) == len({*executions(here)}) == 2 * 3 * 4


@pytest.mark.slow
def test_edited_code_is_run_anew_and_the_earlier_verdict_is_mentioned(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = counting_script(here)
    assert judge(*arms_of(command, "same", "worse")) == 0
    (here / "train.sh").write_text((here / "train.sh").read_text() + "# another line\n")
    assert judge(*arms_of(command, "same", "worse")) == 0
    assert len(executions(here)) == 32
    assert "were judged 1 times before" in capsys.readouterr().out


def test_runs_see_the_code_as_it_was_when_the_comparison_began(here: Path) -> None:
    """The first run edits the script; those after it print the same as if it had not."""
    body = f"echo 'echo loss 99' > {here}/train.sh\n{LOSS}\necho loss $loss"
    command = write_script(here, body)
    assert judge(f"a={command} same", f"b={command} worse", METRIC) == 0


@pytest.mark.parametrize(
    "changed",
    [
        "looks=4,8",
        *(pytest.param(rule, marks=pytest.mark.slow) for rule in ("alpha=0.01", "margin=0.01", "test=ranks")),
    ],
)
def test_what_was_planned_stays(changed: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = arms_of(counting_script(here), "same", "worse")
    assert judge(*arguments) == 0
    assert judge(*arguments, changed) == 2
    assert f"{changed} is not allowed: this comparison began with" in capsys.readouterr().err
    assert judge(*arguments, changed, "first_seed=100") in (0, 3, 4)


def test_the_first_arm_of_a_file_is_compared_with_each_other_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = counting_script(here)
    (here / "arms.yaml").write_text("".join(f"{arm}: {command} {arm}\n" for arm in ("same", "worse", "bit", "third")))
    assert judge("arms=arms.yaml", METRIC, "jobs=4", "looks=4,8", "margin=0.01", "format=json") == 3
    found = json.loads(capsys.readouterr().out)
    assert [(c["other"], c["ruling"]) for c in found["comparisons"]] == [
        ("worse", "better"),
        ("bit", "equivalent"),
        ("third", "equivalent"),
    ]
    assert found["verdict"] == "same is at least as good as every other arm"


@pytest.mark.slow
def test_a_decided_arm_gets_no_more_seeds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = counting_script(here)
    (here / "arms.yaml").write_text("".join(f"{arm}: {command} {arm}\n" for arm in ("same", "worse", "other")))
    assert judge("arms=arms.yaml", METRIC, "jobs=4", "looks=3,6", "format=json") == 4
    runs = {arm["name"]: arm["runs"] for arm in json.loads(capsys.readouterr().out)["arms"]}
    assert runs == {"same": 6, "worse": 3, "other": 6}


@pytest.mark.parametrize(
    ("writes", "metric"),
    [
        ("echo loss 9; echo loss $loss", "log:loss (.+)"),
        ("printf '\\033[32mloss\\033[0m %s\\n' $loss", "log:loss (.+)"),
        ("echo loss $loss", "log:[0-9.]+$"),
        ('mkdir o; echo "{\\"val\\": {\\"loss\\": $loss}}" > o/r.json', "json:o/r.json:val.loss"),
        ('echo "{\\"val/loss\\": $loss}" > r.json', "json:r.json:val/loss"),
        ('printf \'{"loss": 9}\\n{"loss": %s}\\n{"x": 1}\\n{"lo\' $loss > r.jsonl', "jsonl:r.jsonl:loss"),
        ("printf 'step,loss\\n1,9\\n2,%s\\n3,\\n' $loss > r.csv", "csv:r.csv:loss"),
        ('echo "{\\"loss\\": $loss}" > "$3"/r.json', "json:r.json:loss"),
    ],
)
def test_the_metric_is_found(writes: str, metric: str, here: Path) -> None:
    command = write_script(here, f"{LOSS}\n{writes}") + " "
    arguments = [f"a={command}same {{out}}", f"b={command}worse {{out}}", f"metric={metric}", "jobs=4", "looks=3"]
    assert judge(*arguments) == 0


def test_a_file_that_lies_here_is_neither_read_nor_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "r.json").write_text('{"loss": 1}')
    command = write_script(here, f'{LOSS}\n[ "$arm" = worse ] || echo "{{\\"loss\\": $loss}}" > r.json')
    assert judge(f"a={command} same", f"b={command} worse", "metric=json:r.json:loss", "jobs=4", "looks=2") == 1
    assert "b seed 0 failed: there is no r.json" in capsys.readouterr().out
    assert (here / "r.json").read_text() == '{"loss": 1}'


def test_relative_paths_to_data_and_modules_work(here: Path) -> None:
    (here / "pkg").mkdir()
    (here / "pkg" / "__init__.py").write_text("base = open('data/base.txt').read()\n")
    (here / "data").mkdir()
    (here / "data" / "base.txt").write_text("3")
    (here / "train.py").write_text(
        "import sys, random\nfrom pkg import base\n"
        "print('loss', int(base) + random.Random(int(sys.argv[1])).random() / 100 + float(sys.argv[2]))\n"
    )
    command = f"{sys.executable} train.py {{seed}}"
    assert judge(f"a={command} 0", f"b={command} 0.5", METRIC, "jobs=2", "looks=3") in (0, 4)


def test_a_failed_run_is_tried_once_more_by_the_next_command(here: Path) -> None:
    body = f'[ "$arm" = worse ] && [ ! -e {here}/now ] && exit 1\n{LOSS}\necho loss $loss'
    arguments = arms_of(write_script(here, body), "same", "worse")
    assert judge(*arguments) == 1
    (here / "now").touch()
    assert judge(*arguments) == 0
    assert len(list(here.glob("judge/runs/*/1.result.json"))) >= 1


def test_after_a_failure_no_further_run_begins(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_script(here, f"echo x >> {here}/executions\nexit 1")
    assert judge(f"a={command} a", f"b={command} b", METRIC, "jobs=2") == 1
    assert len(executions(here)) <= 3
    assert "a seed 0 failed: its exit code is 1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_without_its_number_is_not_run_again_for_another_metric(here: Path) -> None:
    command = counting_script(here)
    arguments = [f"a={command} same", f"b={command} worse", "jobs=4"]
    assert judge(*arguments, "metric=log:lss (.+)") == 1
    assert judge(*arguments, METRIC) == 0
    assert len(executions(here)) == len({*executions(here)}) == 16


def test_the_budget_of_time_ends_it_between_looks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(*arms_of(counting_script(here), "same", "diff1"), "looks=2,4,8", "budget=0.000001") == 4
    printed = capsys.readouterr().out
    assert "The budget of time is spent." in printed
    assert "2 seeds each, look 1 of 3" in printed


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ((100, 60.0), (70, 60.5), "a did 100 steps in 1.0 min, b 70 in 1.0 min: the budget is one of time"),
        ((100, 60.0), (100, 90.0), "the budget is one of steps, and does not count that a run's time differs"),
        ((100, 60.0), (70, 90.0), "neither steps nor time are equal, so the arms had different budgets"),
        ((100, 60.0), (101, 60.5), None),
        ((100, 60.0), (float("nan"), 90.0), None),
    ],
)
def test_a_budget_of_time_is_told_from_one_of_steps(
    a: tuple[float, float], b: tuple[float, float], words: str | None
) -> None:
    arms = [
        ArmSummary(name, "", 4, 3.0, 0.1, seconds=seconds, steps=steps)
        for name, (steps, seconds) in (("a", a), ("b", b))
    ]
    notes = budget_notes(arms)
    assert bool(notes) == (words is not None)
    assert all(words and words in note for note in notes)


def test_the_steps_of_a_run_are_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_script(here, f'{LOSS}\necho "loss $loss"\necho "steps $(( seed + 10 ))"')
    arguments = [f"a={command} same", f"b={command} worse", METRIC, "looks=2", "steps=log:steps (.+)", "format=json"]
    assert judge(*arguments) in (0, 4)
    assert [arm["steps"] for arm in json.loads(capsys.readouterr().out)["arms"]] == [10.5, 10.5]


def test_no_secret_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_API_KEY", "0123456789secret")
    monkeypatch.setenv("OTHER", "0123456789other")
    command = counting_script(here)
    assert judge(*arms_of(command, "same", "worse")) == 0
    text = b"".join(path.read_bytes() for path in (here / "judge").rglob("*") if path.is_file())
    assert b"0123456789" not in text
    assert judge(f"a={command} 0123456789secret", f"b={command} worse", METRIC) == 2


# ------------------------------------------------------------------------------------------- interrupted and killed


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lmablate.judge", *arguments]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_keeps_what_is_done_and_ends_what_runs(signum: int, here: Path) -> None:
    body = f"{LOSS}\n[ $seed -ge 2 ] && [ ! -e {here}/now ] && sleep 300\necho loss $loss"
    command = write_script(here, body)
    arguments = [f"a={command} same", f"b={command} worse", METRIC, "jobs=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command_line(*arguments), cwd=here, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(here.glob("judge/runs/*/result.json"))) < 4 or len(list(here.glob("judge/runs/*/log.txt"))) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert "4 runs of 8 kept; the same command goes on from there." in said
    assert len(list(here.glob("judge/runs/*/result.json"))) == 4
    (here / "now").touch()
    assert judge(*arguments) == 0


# What a Python script writes with the value `loss`, and the metric that reads it.
TRACKED = {
    "tensorboard:events:val/loss": """
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter("events")
for step, value in enumerate((loss + 1, loss)):
    writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag="val/loss", simple_value=value)])))
writer.close()
""",
    "wandb:val/loss": """
import wandb
run = wandb.init(mode="offline", project="x", settings=wandb.Settings(silent=True))
for value in (loss + 1, loss):
    run.log({"val/loss": value})
run.finish()
""",
}


@pytest.mark.parametrize("metric", [next(iter(TRACKED)), pytest.param("wandb:val/loss", marks=pytest.mark.slow)])
def test_the_last_value_that_a_run_tracked_is_read(metric: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "import random, sys\nrandom.seed(sys.argv[1])\nloss = random.random() + (sys.argv[2] == 'worse') * 9\n"
    (here / "train.py").write_text(f"{head}loss += random.random() / 9 * (sys.argv[2] == 'worse')\n{TRACKED[metric]}")
    command = f"{sys.executable} train.py {{seed}}"
    assert judge(f"a={command} same", f"b={command} worse", f"metric={metric}", "looks=3", "format=json") == 0
    arms = {arm["name"]: arm["mean"] for arm in json.loads(capsys.readouterr().out)["arms"]}
    assert 0 < arms["a"] < 1 < 9 < arms["b"] < 10.2
