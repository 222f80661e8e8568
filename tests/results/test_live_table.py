"""The live table of `lmablate.status watch=true`."""

import io
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from lmablate.results import live_table
from lmablate.results.live_table import WatchedRun, is_over, seconds_left, watch_runs
from lmablate.runs.states import RunState

NOW = 1e9
VALUES = {"train/loss": 10.234, "val/loss": 11.1, "tokens_per_s": 123456.0}
STATES = ("done", "running", "waiting", "preempted", "failed", "died", "missing")


def state(name: str, heartbeat: float = NOW, number: int = 0, arm: str = "") -> RunState:
    detail = "CUDA out of memory " * 9 if name == "failed" else ""
    left = 7300.0 if name == "running" else None
    run = f"prenorm-rope-swiglu-tiedhead-scaled-s{number}-22c2fefb{number:02x}"
    return RunState(run, arm, name, 12_345, 40_000, left, detail, heartbeat)


# The states of the runs, seconds since the last sign of life, and whether the watch ends.
ENDS = [
    ("done", 0, True),
    ("done done", 0, True),
    ("done running", 0, False),
    ("done running", 1e6, False),
    ("done waiting", 1e6, False),
    ("done missing", 1e6, False),
    ("missing", 1e6, False),
    ("failed waiting", 1e6, False),
    ("done failed", 5, False),
    ("done failed", 100, True),
    ("failed", 100, True),
    ("failed died", 100, True),
    ("done died", 59, False),
    ("done died", 61, True),
    ("done preempted", 5, False),
    ("done preempted", 100, True),
    ("", 0, True),
]


@pytest.mark.parametrize(("names", "silence", "over"), ENDS)
def test_the_watch_ends_when_nobody_runs_the_rest(names, silence, over):
    assert is_over([state(name, NOW - silence) for name in names.split()], NOW) == over


def test_a_run_that_never_gave_a_sign_of_life_counts_as_silent():
    assert is_over([state("failed", 0.0)], NOW)


def drawn(runs: Sequence[WatchedRun], height: int, width: int = 80) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(live_table.live_view(runs, console, last=False))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


ARMS = ["", "pos=rope seed={}", "norm=post optim.lr=0.003 model.norm.kind=layernorm seed={}", "größe=[b]x[/b] seed={}"]


@pytest.mark.parametrize("height", [5, 24, 50])
@pytest.mark.parametrize("number", [1, 7, 40, 300])
@pytest.mark.parametrize("arm", ARMS)
def test_it_fits_the_terminal(arm, number, height):
    runs = [(state(STATES[i % 7], number=i, arm=arm.format(i)), VALUES) for i in range(number)]
    lines = drawn(runs, height)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= max(height, 8)
    text = "\n".join(lines)
    assert "10.234" in text
    assert "11.100" in text
    if number > 1:
        assert "2.0 h" in text
        assert "123.5k" in text


def test_the_runs_that_need_a_look_have_their_place_first():
    runs: list[WatchedRun] = [(state("done", number=i, arm=f"seed={i}"), VALUES) for i in range(100)]
    runs += [(state("failed", number=100, arm="seed=100"), {}), (state("running", number=101, arm="seed=101"), VALUES)]
    lines = drawn(runs, height=10)
    assert "seed=101" in lines[1]
    assert "seed=100" in lines[2]
    assert "seed=100 failed: CUDA out of memory" in lines[-3]
    assert lines[-2] == "... and 97 more: 97 done"
    assert lines[-1].endswith("left: 100 done, 1 failed, 1 running")


def test_an_arm_that_is_not_known_is_told_by_what_differs_in_the_ids():
    runs = [(state("done", number=number), VALUES) for number in range(3)]
    assert [line.split()[0] for line in drawn(runs, 24)[1:4]] == ["s0-22c2fefb00", "s1-22c2fefb01", "s2-22c2fefb02"]
    assert drawn(runs[:1], 24)[1].startswith("prenorm")
    foreign = (replace(runs[0][0], run="x"), {})
    assert drawn([*runs, foreign], 24)[4].startswith("x ")


# Runs as (state, step, max_steps, seconds_left), and the time left of the whole sweep in seconds.
SWEEPS = [
    ([("running", 50, 100, 10.0)], 10),
    ([("running", 50, 100, 10.0), ("running", 0, 100, 20.0)], 15),
    ([("running", 50, 100, 10.0), ("missing", None, None, None)], 30),
    ([("running", 50, 100, 10.0), ("waiting", None, None, None), ("done", 100, 100, None)], 30),
    ([("running", 50, 100, 10.0), ("failed", 10, 100, None), ("died", 10, 100, None)], 10),
    ([("running", 0, 100, None)], None),
    ([("running", 0, 100, 0.0)], None),
    ([("missing", None, None, None)], None),
    ([("done", 100, 100, None)], None),
    ([], None),
]


@pytest.mark.parametrize(("runs", "left"), SWEEPS)
def test_the_time_left_is_that_of_the_sweep_at_its_present_speed(runs, left):
    assert seconds_left([RunState("r", "", *run) for run in runs]) == (None if left is None else pytest.approx(left))


def test_the_watch_shows_what_changes_and_returns_the_last_states(monkeypatch):
    monkeypatch.setattr(live_table, "_EVERY_S", 0.01)
    looks = [[(state("missing"), {})], [(state("running", time.time()), VALUES)], [(state("done"), VALUES)]]
    left = iter(looks)
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True, color_system=None)
    assert [s.state for s in watch_runs(lambda: next(left), console)] == ["done"]
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.index("missing") < text.index("running") < text.rindex("done")
