"""SIGKILL at random instants, then the same command: the same verdict, and nothing is run twice."""

import multiprocessing
import multiprocessing.process
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.referee.helpers import judge
from tests.referee.test_compare import arms_of, counting_script, executions


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


def check_kills(folder: Path, least: int) -> None:
    import lmablate.referee.compare  # noqa: F401 (so that no fork has to import it)

    rng, kills, family = random.Random(0), 0, 0
    calm = folder / "calm"
    calm.mkdir()
    plan = ["looks=3,6,9", "margin=0.001"]
    process = start(calm, [*arms_of(counting_script(calm), "same", "diff1"), *plan])
    process.join(120)
    expected = process.exitcode, executions(calm), looks(calm)
    while kills < least:
        family += 1
        here = folder / f"killed{family}"
        here.mkdir()
        arguments = [*arms_of(counting_script(here), "same", "diff1"), *plan]
        code, killed = kill_until_it_ends(here, arguments, rng, min(8, least - kills))
        kills += killed
        assert code in (3, 4)
        assert len(executions(here)) == len({*executions(here)}), "something was run twice"
        assert (code, executions(here), looks(here)) == expected
    time.sleep(0.2)


def looks(folder: Path) -> str:
    (path,) = folder.glob("judge/trials/*/looks.jsonl")
    return path.read_text()


def test_a_kill_changes_no_verdict_and_repeats_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 3)


@pytest.mark.faults
def test_many_kills_change_no_verdict_and_repeat_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 60)
