"""Whatever is typed, and whatever a command does: one sentence, and nothing is claimed. The next case is one line."""

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.referee.helpers import judge, loss_of, write_script

GOOD = {"a": "sh train.sh {seed}", "b": "sh train.sh {seed} b", "metric": "log:loss (.+)"}

# Keys that are added to good ones, or replace them (None takes one away), and words of the sentence.
REFUSED: list[tuple[dict[str, str | None], str]] = [
    ({"a": "sh train.sh 1"}, "it has no {seed}, so all of its runs would be one"),
    ({"b": "sh train.sh {Seed}"}, "{Seed} is not read as a place"),
    ({"b": "sh train.sh $SEED"}, "$SEED is not read as a place"),
    ({"b": "sh train.sh { seed }"}, "{ seed } is not read as a place"),
    ({"a": ""}, "a='' is not allowed: it must be a command"),
    ({"a": "   "}, "it must be a command"),
    ({"a": None}, "a=... is missing: two commands are compared"),
    ({"b": None}, "b=... is missing"),
    ({"a": None, "b": None}, "Nothing is asked for"),
    ({"aa": "sh train.sh {seed}"}, "Too much is asked for"),
    ({"b": "sh train.sh {seed}"}, "a and b are the same command"),
    ({"b": "sh  train.sh '{seed}'"}, "a and b are the same command"),
    ({"a": "pyton train.py {seed}"}, "there is no program pyton"),
    ({"a": "./train.py {seed}"}, "there is no program ./train.py"),
    ({"a": "X=1 sh train.sh {seed}"}, "variables before a command need shell=true"),
    ({"a": "sh train.sh {seed} | tail"}, "| is for a shell, so add shell=true"),
    ({"a": "sh train.sh {seed} > log"}, "> is for a shell"),
    ({"a": "sh train.sh {seed} && ls"}, "&& is for a shell"),
    ({"a": "sh train.sh {seed}; ls"}, "; is for a shell"),
    ({"a": "sh train.sh {seed} $HOME"}, "$HOME is for a shell"),
    ({"a": "sh train.sh {seed} `date`"}, "`date` is for a shell"),
    ({"a": "sh 'train.sh {seed}"}, "is not a command line: no closing quotation"),
    ({"metric": None}, "metric=... is missing"),
    ({"metric": "loss"}, "metric=loss is not allowed: it must be log:REGEX"),
    ({"metric": ""}, "it must be log:REGEX"),
    ({"metric": "xml:a:b"}, "it must be log:REGEX"),
    ({"metric": "log:"}, "with at most one group"),
    ({"metric": "log:(a)(b)"}, "with at most one group"),
    ({"metric": "log:(["}, "is not a regular expression"),
    ({"metric": "json:r.json"}, "it must be json:PATH:NAME"),
    ({"metric": "json:/tmp/r.json:loss"}, "with a path below the folder"),
    ({"metric": "csv:../r.csv:loss"}, "with a path below the folder"),
    ({"metric": "wandb:"}, "it must be wandb:KEY"),
    ({"steps": "x"}, "steps=x is not allowed"),
    ({"diverged": "("}, "diverged=( is not a regular expression"),
    ({"looks": "8,4"}, "looks=8,4 is not allowed: it must be ascending numbers from 2"),
    ({"looks": "1,4"}, "looks=1,4 is not allowed"),
    ({"looks": "4,,8"}, "looks=4,,8 is not allowed"),
    ({"looks": "many"}, "looks=many is not allowed"),
    ({"looks": "4;8"}, "looks=4;8 is not allowed"),
    ({"alpha": "0"}, "alpha=0 is not allowed: it must be above 0 and at most 0.5"),
    ({"alpha": "5"}, "at most 0.5"),
    ({"alpha": "nan"}, "alpha=nan is not allowed: it must be a number"),
    ({"margin": "-0.1"}, "margin=-0.1 is not allowed: it must be at least 0"),
    ({"jobs": "0"}, "jobs=0 is not allowed: it must be at least 1"),
    ({"limit": "0"}, "limit=0 is not allowed: it must be above 0"),
    ({"budget": "-1"}, "budget=-1 is not allowed"),
    ({"first_seed": "-1"}, "first_seed=-1 is not allowed"),
    ({"log_mb": "0"}, "log_mb=0 is not allowed"),
    ({"better": "smaller"}, "better=smaller is not allowed: choose one of lower, higher"),
    ({"launcher": "cloud"}, "launcher=cloud is not allowed: choose one of local, slurm"),
    ({"slurm": "partition=x"}, "slurm=partition=x is of no use with launcher=local"),
    ({"launcher": "slurm", "slurm": "partition"}, "it must be KEY=VALUE with commas"),
    ({"n": "4"}, "n=4 is of no use here"),
    ({"paired": "true"}, "paired=true is of no use here"),
    ({"proposals": "10"}, "proposals=10 is of no use here"),
    ({"code": "nothing.py"}, "code=nothing.py is not a file or a folder"),
    ({"arms": "arms.yaml"}, "arms=arms.yaml has the arms already: leave out a= and b="),
    ({"arms": "none.yaml", "a": None, "b": None}, "arms=none.yaml is not a file"),
    ({"arms": "arms.yaml", "a": None, "b": None}, "it must map two names or more to commands"),
    ({"arms": "train.sh", "a": None, "b": None}, "train.sh"),
    ({"out": "train.sh"}, "out=train.sh cannot be written to"),
    ({"seeds": "4"}, "seeds=4 is not allowed: choose one of shared, fresh"),
    ({"metrik": "x"}, "did you mean metric=...?"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(changes: dict[str, str | None]) -> list[str]:
    return [f"{key}={value}" for key, value in (GOOD | changes).items() if value is not None]


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=[words[:50] for _, words in REFUSED])
def test_a_mistake_gets_one_sentence_before_anything_is_written(
    changes: dict[str, str | None], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_script(here, loss_of())
    (here / "arms.yaml").write_text("pre: sh train.sh {seed}\n")
    before = sorted(here.rglob("*"))
    assert judge(*typed(changes)) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not printed.out
    assert sorted(here.rglob("*")) == before


# What a script does, the metric, further keys, and words of the sentence about the run.
FAILING = [
    ("echo hello", "log:loss (.+)", [], "its log has no match of 'loss (.+)'"),
    ("", "log:loss (.+)", [], "its log printed nothing"),
    ("echo loss many", "log:loss (.+)", [], "is 'many', which is text and no number"),
    ("echo loss 3; exit 3", "log:loss (.+)", [], "its exit code is 3, and its last words are 'loss 3'"),
    ("exit 1", "log:loss (.+)", [], "its exit code is 1, and it printed nothing"),
    ("kill -9 $$", "log:loss (.+)", [], "it was killed by signal 9"),
    ("sleep 60", "log:loss (.+)", ["limit=0.005"], "it was ended at its time limit after 0 s"),
    pytest.param(
        *("trap '' TERM; while :; do sleep 1; done", "log:x", ["limit=0.005"], "it was ended at its time limit"),
        marks=pytest.mark.slow,
    ),
    ("echo '{}' > r.json", "json:r.json:loss", [], "r.json has no key loss: it has no key"),
    ("echo '{\"lss\": 1}' > r.json", "json:r.json:loss", [], "r.json has no key loss: it has lss"),
    ('echo \'{"loss": "low"}\' > r.json', "json:r.json:loss", [], "loss in r.json is 'low', which is text"),
    ("echo '{\"loss\": null}' > r.json", "json:r.json:loss", [], "loss in r.json is null, which is no number"),
    ("echo '{\"loss\": [1]}' > r.json", "json:r.json:loss", [], "loss in r.json is [1], which is no number"),
    ("echo '{\"loss\": true}' > r.json", "json:r.json:loss", [], "is true, which is no number"),
    ("echo 'loss: 1' > r.json", "json:r.json:loss", [], "r.json is not JSON"),
    ("printf '\\377' > r.json", "json:r.json:loss", [], "r.json is not UTF-8"),
    ("echo 1 > result.txt", "json:r.json:loss", [], "there is no r.json in its folder: it wrote result.txt"),
    ("mkdir o; echo 1 > o/r.json", "json:r.json:loss", [], "it wrote o/r.json"),
    (":", "json:r.json:loss", [], "it wrote no file at all"),
    ("mkdir r.json", "json:r.json:loss", [], "r.json cannot be read"),
    ("ln -s /etc r", "json:r/passwd:loss", [], "leads out of its folder"),
    ("echo '{\"step\": 1}' > r.jsonl", "jsonl:r.jsonl:loss", [], "no line of r.jsonl has the key loss: they have step"),
    ("echo text > r.jsonl", "jsonl:r.jsonl:loss", [], "none is a JSON object"),
    ("echo 'step,x' > r.csv", "csv:r.csv:loss", [], "r.csv has no column loss: it has step, x"),
    (": > r.csv", "csv:r.csv:loss", [], "r.csv has no column loss: it is empty"),
    ("echo step,loss > r.csv", "csv:r.csv:loss", [], "the column loss of r.csv has no value"),
    (":", "wandb:loss", [], "it wrote 0 offline runs of wandb"),
    pytest.param(*("echo x > a.wandb", "wandb:loss", [], "holds no wandb run"), marks=pytest.mark.slow),
    ("mkdir t", "tensorboard:t:loss", [], "t has no event file of TensorBoard"),
    (":", "tensorboard:t:loss", [], "there is no t in its folder"),
    ("echo loss 1", "log:loss (.+)", [], "gave one and the same value for each of 2 seeds"),
]


@pytest.mark.parametrize(("body", "metric", "keys", "words"), FAILING)
def test_a_run_without_a_number_is_named_and_nothing_is_claimed(
    body: str, metric: str, keys: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = write_script(here, f'if [ "$arm" = a ]; then {body}\nelse {loss_of()}; fi' if body else "")
    arguments = [f"a={command} a", f"b={command} b", f"metric={metric}", "looks=2", *keys]
    assert judge(*arguments) == 1
    printed = capsys.readouterr().out
    (sentence,) = {line for line in printed.splitlines() if words in line and line.startswith(("a seed 0", "a gave"))}
    assert "better" not in printed
    assert "0 better" not in sentence


def test_a_number_that_is_not_finite_is_a_diverged_run_and_the_worst(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = write_script(here, f'if [ "$arm" = b ]; then echo loss nan; else {loss_of()}; fi')
    arguments = [f"a={command} a", f"b={command} b", "metric=log:loss (.+)", "looks=6", "jobs=4"]
    assert judge(*arguments) == 0
    assert "0 of a and 6 of b diverged, which counts as the worst" in capsys.readouterr().out


def test_a_failed_run_counts_as_diverged_if_its_log_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_script(here, f'if [ "$arm" = b ]; then echo loss is NaN; exit 1; fi; {loss_of()}')
    arguments = [f"a={command} a", f"b={command} b", "metric=log:loss (.+)", "looks=6", "jobs=4", "diverged=is NaN"]
    assert judge(*arguments) == 0
    assert "6 of b diverged" in capsys.readouterr().out


def test_a_command_that_prints_without_end_leaves_a_small_log(here: Path) -> None:
    """Its first and its last half are kept, so the number at the end is found."""
    body = f"head -c 20000000 /dev/zero | tr '\\0' x; {loss_of()}"
    command = write_script(here, body)
    assert judge(f"a={command} a", f"b={command} b", "metric=log:loss (.+)", "looks=2", "log_mb=0.1") in (3, 4)
    logs = list(here.glob("judge/runs/*/log.txt"))
    assert len(logs) == 4
    assert all(log.stat().st_size < 101_000 for log in logs)
    assert b"bytes are left out" in logs[0].read_bytes()


@pytest.mark.parametrize("how", ["sleep 300 &", "setsid sleep 300 &", "(setsid sh -c 'sleep 300 & sleep 300' &)"])
def test_no_process_outlives_its_run(how: str, here: Path) -> None:
    command = write_script(here, f"{how}\nsleep 300")
    assert judge(f"a={command} a", f"b={command} b", "metric=log:loss (.+)", "looks=2", "limit=0.005", "jobs=4") == 1
    assert not processes_below(here / "judge" / "runs")


@pytest.mark.slow
def test_a_process_that_is_left_behind_is_ended_when_its_command_ends(here: Path) -> None:
    command = write_script(here, f"setsid sleep 300 &\n{loss_of()}")
    began = time.monotonic()
    assert judge(f"a={command} a", f"b={command} b", "metric=log:loss (.+)", "looks=2", "jobs=4") in (3, 4)
    assert time.monotonic() - began < 60
    assert not processes_below(here / "judge" / "runs")
    results = [json.loads(path.read_text()) for path in here.glob("judge/runs/*/result.json")]
    assert {result["left_behind"] for result in results} == {1}


def processes_below(folder: Path) -> list[str]:
    """The processes that have a folder, or one below it, as their current one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text())
    return found
