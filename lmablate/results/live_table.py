"""The table of `lmablate.status watch=true`: a sweep while it trains, on a terminal of 80 columns."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lmablate.errors import duration
from lmablate.results.exports.recorded import printable
from lmablate.results.run_table import COLOURS
from lmablate.runs.states import RunState

# Seconds between two looks at the files.
_EVERY_S = 2.0
# Seconds without a sign of life from any run, after which nobody is expected to run those that failed or died. A
# launcher takes less to start its next job.
_SILENCE_S = 60.0
# The metrics of a row, and the heads of their columns.
METRICS = {"train/loss": "train", "val/loss": "val", "tokens_per_s": "tok/s"}
# What is shown first if not all rows have a place.
_ORDER = ("running", "failed", "died", "waiting", "preempted", "missing", "done")
# Characters that the columns beside the name take.
_OTHER_COLUMNS = 58
# Lines for runs that failed or died.
_MOST_REASONS = 3

# A run's state and its newest value of each of METRICS.
WatchedRun = tuple[RunState, Mapping[str, float]]


def watch_runs(look: Callable[[], list[WatchedRun]], console: Console) -> list[RunState]:
    """Show the runs until all are done, or have ended otherwise and nobody runs them. Ctrl-C raises KeyboardInterrupt.

    Args:
        look: returns the runs as they are now.
        console: where the table is.

    Returns:
        The last states.
    """
    runs = look()
    with Live(live_view(runs, console, last=False), console=console, auto_refresh=False) as live:
        while not is_over([state for state, _ in runs], time.time()):
            live.update(live_view(runs, console, last=False), refresh=True)
            time.sleep(_EVERY_S)
            runs = look()
        live.update(live_view(runs, console, last=True), refresh=True)
    return [state for state, _ in runs]


def is_over(states: Sequence[RunState], now: float) -> bool:
    """Return whether nothing more is to be seen: all are done, or the others have failed or died and are left alone.

    Args:
        states: of all runs.
        now: Unix time.
    """
    found = {state.state for state in states}
    if found <= {"done"}:
        return True
    silent = all(now - state.heartbeat > _SILENCE_S for state in states)
    return silent and not found & {"running", "waiting", "missing"}


def count_states(states: Sequence[RunState]) -> str:
    """Return how many runs are in each state, in words."""
    counts = Counter(state.state for state in states)
    return ", ".join(f"{n} {state}" for state, n in counts.most_common()) or "no runs"


def live_view(runs: Sequence[WatchedRun], console: Console, last: bool) -> Group:
    """Return the table, the reasons of failures, and, unless it is the last view, how many are where."""
    states = [state for state, _ in runs]
    names = dict(zip((state.run for state in states), _short_names(states), strict=True))
    failed = [state for state in states if state.state in ("failed", "died")]
    reasons = [Text(f"{names[s.run]} {s.state}: {printable(s.detail)}", "red") for s in failed[:_MOST_REASONS]]
    room = len(runs) if last or not console.is_terminal else max(1, console.height - len(reasons) - 4)
    if room < len(runs):
        runs = sorted(runs, key=lambda run: _ORDER.index(run[0].state))
    hidden = [state for state, _ in runs[room:]]
    lines = [Text(f"... and {len(hidden)} more: {count_states(hidden)}")] if hidden else []
    if not last:
        left = seconds_left(states)
        lines.append(Text((f"about {duration(left)} left: " if left is not None else "") + count_states(states)))
    for line in (*reasons, *lines):
        line.no_wrap, line.overflow = True, "ellipsis"
    names = {run: _cut(name, console.width - _OTHER_COLUMNS) for run, name in names.items()}
    return Group(_table(runs[:room], names), *reasons, *lines)


def _table(runs: Sequence[WatchedRun], names: Mapping[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("run", no_wrap=True, overflow="ellipsis", min_width=8)
    table.add_column("state", no_wrap=True, min_width=7)
    for name in ("step", *METRICS.values(), "left"):
        table.add_column(name, no_wrap=True, justify="right")
    for state, values in runs:
        step = f"{state.step}/{state.max_steps}" if state.step is not None and state.max_steps else ""
        left = duration(state.seconds_left) if state.seconds_left is not None else ""
        if state.state != "running":
            values = {name: value for name, value in values.items() if name != "tokens_per_s"}
        numbers = [_number(name, values[name]) if name in values else "" for name in METRICS]
        style = COLOURS.get(state.state, "white")
        table.add_row(Text(names[state.run]), Text(state.state, style), step, *numbers, left)
    return table


def _cut(name: str, width: int) -> str:
    """Return a name of at most `width` characters: its middle goes, because arms differ first, and seeds come last."""
    half = max(width - 1, 4) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[-half:]}"


def _number(metric: str, value: float) -> str:
    if metric != "tokens_per_s":
        return f"{value:.3f}"
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def _short_names(states: Sequence[RunState]) -> list[str]:
    """Return each run's arm, or, where it is not known, the parts of its id in which the runs differ."""
    parts = [state.run.split("-") for state in states]
    if any(state.arm for state in states) or len({len(words) for words in parts}) != 1 or len(parts) == 1:
        return [printable(state.arm or state.run) for state in states]
    differ = [len({*words}) > 1 for words in zip(*parts, strict=True)]
    return ["-".join(word for word, differs in zip(words, differ, strict=True) if differs) for words in parts]


def seconds_left(states: Sequence[RunState]) -> float | None:
    """Return about how long the whole sweep takes if it goes on at its present speed; None if nothing is running.

    A run that has not begun counts as long as the average of those that have.
    """
    running = [state for state in states if state.state == "running" and state.seconds_left]
    lengths = [state.max_steps for state in states if state.max_steps]
    speed = sum((s.max_steps - (s.step or 0)) / s.seconds_left for s in running if s.max_steps and s.seconds_left)
    if not speed:
        return None
    due = [state for state in states if state.state in ("running", "waiting", "missing")]
    average = sum(lengths) / len(lengths)
    return sum((state.max_steps or average) - (state.step or 0) for state in due) / speed
