"""All commands on generated command lines, environments, names and paths.

Whatever is typed, a command does all that was asked and ends with 0, or says in one sentence why not. It never ends in
a traceback, and never changes a file that it was not told to write. tests/faults/lines.py draws the lines and knows
what must come of each; tests/faults/surroundings.py watches the files.
"""

import io
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from unittest.mock import patch

import pytest
from hypothesis import strategies as st

from tests.faults.lines import REFUSED, UNKNOWN, Line, compose_lines, key_value_lines
from tests.faults.surroundings import Surroundings
from tests.faults.test_fuzz import attack
from tests.tiny import ROOT, exit_code

# What a sentence to a user does not have: the words of Hydra's, OmegaConf's and Python's own errors.
NOISE = re.compile(
    r"See https|NoViableAlt|full_key|object_type|Config search path|has no attribute|NoneType|unhashable"
    r"|not subscriptable|index out of range|positional argument|keyword argument|object is not|must be str|\[Errno"
    r"|Exception|ANTLR|<class '"
)
LONGEST_SENTENCE = 600
# Where a command writes if it is not told where.
DEFAULTS = {
    "train": ["data"], "prepare": ["data"], "plan": ["data"], "audit": ["data"], "status": ["data"],
    "lr_sweep": ["data"], "export": ["analysis/exports"], "figures": ["analysis/figures"], "report": ["analysis"],
}  # fmt: skip
BESIDE_THE_PAGE = ("verdicts.csv", "figures")
READERS_OF_RUNS = {"plan", "audit", "status"}


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        code: its exit code; None after an exception, which is a traceback for the user.
        out: what it printed.
        err: what it said.
        changed: the paths that changed although the command was not told to write there.
    """

    code: int | None
    out: str
    err: str
    changed: list[str]


@contextmanager
def printing_to(encoding: str) -> Iterator[io.TextIOWrapper]:
    """Yield a stdout of an encoding, or, for "closed", one that nobody reads."""
    if encoding != "closed":
        yield io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", write_through=True)
        return
    reader, writer = os.pipe()
    os.close(reader)
    stream = io.TextIOWrapper(io.FileIO(writer, "w"), "utf-8")
    try:
        yield stream
    finally:
        with suppress(OSError):
            stream.close()


def run_line(line: Line, world: Surroundings) -> Outcome:
    """Run a line in this process, and undo what it changed."""

    def placed(text: str) -> str:
        names = {"{root}": world.root, "{kept}": world.kept, "{run}": world.run.name}
        for name, path in names.items():
            text = text.replace(name, str(path))
        return text

    written = [world.work / name for name in line.files]
    for path, text in zip(written, line.files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = world.snapshot()
    environment = world.environment | {k: placed(v) for k, v in line.environment.items() if v is not None}
    error, code, here = io.StringIO(), None, os.getcwd()
    os.chdir(world.work)
    with (
        printing_to(line.output) as output,
        redirect_stdout(output),
        redirect_stderr(error),
        patch.dict(os.environ, environment),
    ):
        try:
            code = exit_code([placed(argument) for argument in line.arguments], f"lmablate.{line.command}")
        except Exception:
            error.write(traceback.format_exc())
        finally:
            os.chdir(here)
            logging.getLogger().handlers.clear()
        shown = output.buffer.getvalue().decode(line.output) if isinstance(output.buffer, io.BytesIO) else ""
    read_only = ("runs_dir",) if line.command in READERS_OF_RUNS else ()
    asked = [place for piece in line.pieces if piece.key not in read_only for place in piece.places]
    if line.command == "report":  # what it is not told stands beside the page
        asked += [
            f"{piece.writes}/../{name}" for piece in line.pieces if piece.key == "out" for name in BESIDE_THE_PAGE
        ]
        asked += [typed.partition("=")[2] for typed in line.arguments if typed.startswith("exports=")]
    targets = [world.meant_by(placed(path)) for path in [*asked, *DEFAULTS.get(line.command, [])] if "\0" not in path]
    changed = world.changed_since(before)
    world.restore(changed)
    for path in written:
        path.unlink(missing_ok=True)
    foreign = [path for path in changed if not world.allows(path, targets)]
    return Outcome(code, shown, error.getvalue(), sorted(foreign))


def runs_shown(command: str, out: str) -> int | None:
    """Return the number of runs that a command says it has dealt with; None if it does not say."""
    if command == "train":
        return len(re.findall(r"val/loss -?(?:\d|nan|inf)", out))
    if command == "prepare":
        return len(re.findall(r" tokens of ", out)) // 2
    if command in ("plan", "audit"):
        found = re.findall(r"([\d,]+) runs?, ", out)
        return int(found[-1].replace(",", "")) if found else None
    if command == "status":
        last = (out.strip().splitlines() or [""])[-1]
        return sum(int(number) for number in re.findall(r"(\d+) [a-z]+", last))
    return None


def is_help(line: Line) -> bool:
    shows = (
        "-h",
        "--help",
        "--cfg",
        "-c",
        "--info",
        "-i",
        "--hydra-help",
        "-sc",
        "--shell-completion",
        "-p",
        "--version",
    )
    return any(argument.startswith(shows) for argument in line.arguments)


def faults(line: Line, outcome: Outcome) -> list[str]:
    """Return what is wrong with the way in which a line ended."""
    found = []
    last = (outcome.err.rstrip("\n").split("\n") or [""])[-1]
    if "Traceback" in outcome.err:
        found.append("traceback")
    if outcome.code not in (0, 1, 2, 130, 141):
        found.append(f"exit code {outcome.code}")
    if outcome.code == 2 or (outcome.code == 1 and line.command != "status"):
        if not last.startswith("lmablate: "):
            found.append("no sentence at the end")
        if len(last) > LONGEST_SENTENCE:
            found.append(f"a sentence of {len(last)} characters")
        if any(ord(character) < 32 or ord(character) == 127 for character in last):
            found.append("control characters in the sentence")
        if noise := NOISE.search(last):
            found.append(f"noise: {noise[0]}")
    if outcome.changed:
        found.append(f"changed {outcome.changed[:3]}")
    if outcome.code == 141 and line.output != "closed":
        found.append("a closed pipe that is open")
    if line.output == "closed" or is_help(line):
        return found
    if line.runs == REFUSED and outcome.code == 0:
        found.append("accepted")
    if line.runs not in (REFUSED, UNKNOWN):
        if outcome.code == 2 and not line.may_refuse:
            found.append("refused")
        shown = runs_shown(line.command, outcome.out)
        if outcome.code == 0 and shown is not None and shown != line.runs:
            found.append(f"{shown} runs instead of {line.runs}")
    return [*found, *less_than_asked(line, outcome)]


def less_than_asked(line: Line, outcome: Outcome) -> list[str]:
    """Return what is missing from the output of a command of KEY=VALUE arguments that ended well."""
    if outcome.code != 0:
        return []
    given = {key: value for key, _, value in (argument.partition("=") for argument in line.arguments)}
    if line.command == "generate" and "prompts" in given:
        prompts = line.files["prompts.txt"].count("\n")
        answered = len(re.findall(r"^--- \d+$", outcome.out, re.MULTILINE))
        return [] if prompts == 1 or answered == prompts else [f"{answered} of {prompts} prompts answered"]
    wanted = {
        "evaluate": "nats per token", "generate": "", "export": "adhoc: 1 run", "export_hf": "step 1",
        "figures": "overview.png", "clean": "0 runs", "report": given.get("out", ".html"),
    }  # fmt: skip
    missing = wanted.get(line.command, "").encode(line.output, "replace").decode(line.output) not in outcome.out
    return ["the output lacks its result"] if missing else []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Surroundings:
    return Surroundings(tmp_path_factory.mktemp("world") / "root")


# Of each command: the number of lines in the short and in the long version, and the share with a mistake on purpose.
COMMANDS = {
    "evaluate": (60, 3000, 0.6), "generate": (60, 3000, 0.6), "export": (60, 3000, 0.6), "export_hf": (60, 3000, 0.6),
    "figures": (60, 3000, 0.6), "report": (60, 3000, 0.6), "effects": (60, 3000, 0.6),
    "train": (6, 350, 0.8), "prepare": (6, 350, 0.8),
    "clean": (60, 3000, 0.6), "plan": (6, 350, 0.8),
    "audit": (6, 350, 0.8), "status": (6, 350, 0.8), "lr_sweep": (6, 350, 0.8),
}  # fmt: skip
COMPOSING = ("train", "prepare", "plan", "audit", "status", "lr_sweep")
LINES = [
    *(pytest.param(name, short, mistakes, id=f"{name}-short") for name, (short, _, mistakes) in COMMANDS.items()),
    *(
        pytest.param(name, long, mistakes, id=f"{name}-long", marks=[pytest.mark.faults, pytest.mark.timeout(7200)])
        for name, (_, long, mistakes) in COMMANDS.items()
    ),
]


def lines_of(command: str, world: Surroundings, mistakes: float) -> st.SearchStrategy[Line]:
    return compose_lines(command, world.data, mistakes) if command in COMPOSING else key_value_lines(command, mistakes)


@pytest.mark.parametrize(("command", "number", "mistakes"), LINES)
def test_a_command_does_what_was_asked_or_says_why_not(
    command: str, number: int, mistakes: float, world: Surroundings
) -> None:
    def check(line: Line) -> None:
        outcome = run_line(line, world)
        found = faults(line, outcome)
        assert not found, f"{found}\n{line.command} {line.arguments}\n{outcome}"

    attack(number, check, lines_of(command, world, mistakes), deadline=None)


# ------------------------------------------------------------------------------------------------ in real processes

# How a process is started: variables that Python reads when it starts, and where its output goes.
STARTS = [
    pytest.param({"PYTHONIOENCODING": "ascii"}, "", id="ascii"),
    pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "", id="C locale"),
    pytest.param({"MPLBACKEND": "nonsense", "COLUMNS": "x"}, "", id="strange variables"),
    pytest.param({"PYTHONOPTIMIZE": "2"}, "", id="without docstrings"),
    pytest.param({}, ">&-", id="no stdout"),
    pytest.param({}, "| true", id="closed pipe"),
    pytest.param({}, ">/dev/full", id="full disk"),
]
# A line of every command, and words of its output.
REAL = {
    "train": (["{line}"], "val/loss"),
    "prepare": (["{line}"], "tokens of"),
    "plan": (["{line}"], "1 done"),
    "audit": (["{line}"], "No confound found"),
    "status": (["runs"], "1 done"),
    "lr_sweep": (["--help"], "learning rate"),
    "evaluate": (["run=runs/{run}"], "nats per token"),
    "generate": (["run=runs/{run}", "max_tokens=2", "prompt=the ± cat"], "the"),
    "export": (["out=new"], "adhoc: 1 run"),
    "clean": (["apply=true"], "0 runs"),
    "export_hf": (["run=runs/{run}", "out=new"], "step 1"),
    "figures": (["exports=analysis/exports", "out=new"], "overview.png"),
    "effects": (["--help"], "which part matters most"),
    "report": (["exports=analysis/exports", "figures=new", "out=new/page.html", "verdicts=new/v.csv"], "page.html"),
}


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("environment", "redirected"), STARTS)
@pytest.mark.parametrize("command", REAL)
def test_a_real_process_ends_as_well(
    command: str, environment: dict[str, str], redirected: str, world: Surroundings
) -> None:
    arguments, words = REAL[command]
    base = ["--config-dir", "configs", "scale=tiny", *world.data, "tracking=none", "diagnostics=none"]
    typed = [word for a in arguments for word in (base if a == "{line}" else [a.replace("{run}", world.run.name)])]
    before = world.snapshot()
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$@" {redirected}', "bash", sys.executable, "-m", f"lmablate.{command}",
        *typed], capture_output=True, text=True, errors="replace", cwd=world.work, timeout=600,
        env=os.environ | world.environment | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip
    changed = world.changed_since(before)
    world.restore(changed)
    assert "Traceback" not in run.stderr, run.stderr
    assert [path for path in changed if not world.allows(path, [world.work / "new", world.work / "analysis"])] == []
    if redirected == "":
        assert run.returncode == 0, run.stderr
        assert words in run.stdout
    elif redirected == ">/dev/full":
        assert run.returncode == 2, run.stderr
        assert run.stderr.splitlines()[-1].startswith("lmablate: ")
    else:
        assert run.returncode in (0, 141), run.stderr
