"""SIGKILL at random instants, then the same command: the same verdict, and nothing is run twice."""

import json
import multiprocessing
import multiprocessing.process
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.referee.helpers import judge
from tests.referee.test_compare import METRIC, arms_of, counting_script, executions


def start(folder: Path, arguments: list[str]) -> multiprocessing.process.BaseProcess:
    """Type the command in a fork of this process, which has imported what it needs."""

    def run() -> None:
        os.setpgrp()
        os.chdir(folder)
        os._exit(judge(*arguments))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def kill_until_it_ends(folder: Path, arguments: list[str], rng: random.Random, most: int) -> tuple[int, int]:
    """Start the command and kill it, up to `most` times, until it ends. Returns its exit code, and the kills."""
    for kills in range(most + 1):
        process = start(folder, arguments)
        if kills < most:
            process.join(rng.uniform(0, 0.7))
        if process.is_alive() and kills < most:
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            continue
        process.join(120)
        assert process.exitcode is not None
        return process.exitcode, kills
    raise AssertionError


def compared(folder: Path) -> list[str]:
    """Return the arguments of a comparison."""
    return [*arms_of(counting_script(folder), "same", "diff1"), "looks=3,6,9", "margin=0.001"]


def proposed(folder: Path) -> list[str]:
    """Return the arguments of a proposal, in a session that has begun."""
    command = counting_script(folder)
    begin = start(folder, [f"base={command} worse", METRIC, "looks=3,6,9", "test=t", "proposals=10"])
    begin.join(120)
    assert begin.exitcode == 0
    return [f"proposal={command} bit", "jobs=4"]


def check_kills(folder: Path, least: int, prepare: Callable[[Path], list[str]]) -> None:
    import lmablate.referee.compare  # noqa: F401 (so that no fork has to import it)

    rng, kills, family = random.Random(0), 0, 0
    calm = folder / "calm"
    calm.mkdir()
    process = start(calm, prepare(calm))
    process.join(120)
    expected = process.exitcode, executions(calm), looks(calm), proposals(calm)
    assert process.exitcode in (0, 3, 4)
    while kills < least:
        family += 1
        here = folder / f"killed{family}"
        here.mkdir()
        code, killed = kill_until_it_ends(here, prepare(here), rng, min(8, least - kills))
        kills += killed
        assert len(executions(here)) == len({*executions(here)}), "something was run twice"
        assert (code, executions(here), looks(here), proposals(here)) == expected
    time.sleep(0.2)


def looks(folder: Path) -> str:
    (path,) = folder.glob("judge/trials/*/looks.jsonl")
    return path.read_text()


def proposals(folder: Path) -> list[tuple[str, int, str]]:
    """Return what the ledger says about proposals: the event, its number, and the verdict."""
    lines = map(json.loads, (folder / "judge" / "ledger.jsonl").read_text().splitlines())
    return [
        (line["event"], line["number"], line.get("verdict", ""))
        for line in lines
        if line["event"] in ("begun", "proposal")
    ]


@pytest.mark.parametrize("prepare", [compared, proposed])
def test_a_kill_changes_no_verdict_and_repeats_nothing(prepare: Callable[[Path], list[str]], tmp_path: Path) -> None:
    check_kills(tmp_path, 3, prepare)


@pytest.mark.faults
@pytest.mark.parametrize("prepare", [compared, proposed])
def test_many_kills_change_no_verdict_and_repeat_nothing(prepare: Callable[[Path], list[str]], tmp_path: Path) -> None:
    check_kills(tmp_path, 60, prepare)
