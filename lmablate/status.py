"""The state of every run: `python -m lmablate.status [FOLDER | overrides of train] [watch=true]`.

Exit code 0 only if all runs are done.
"""

import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from lmablate.cli import report_mistakes
from lmablate.errors import UserError
from lmablate.runs import Run, all_runs
from lmablate.states import State, survey

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "died": "red", "missing": "yellow"}


def status(arguments: list[str]) -> None:
    """Prints one line a run, and how many are in which state."""
    watch = "watch=true" in arguments
    arguments = [a for a in arguments if a not in ("watch=true", "watch=false")]
    rows, runs_dir = rows_of(arguments)
    states = survey(rows, runs_dir)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if watch:
        with Live(table(states), console=console, auto_refresh=False) as live:
            while not all(state.state in ("done", "failed") for state in states):
                time.sleep(2)
                states = survey(rows, runs_dir)
                live.update(table(states), refresh=True)
    else:
        console.print(table(states))
    counts = Counter(state.state for state in states)
    console.print(", ".join(f"{n} {state}" for state, n in counts.most_common()) or "no runs")
    sys.exit(0 if states and set(counts) == {"done"} else 1)


def rows_of(arguments: list[str]) -> tuple[list[tuple[Run, str, str]], Path]:
    """The runs asked for, each with its arm and its overrides: those of a folder, or those of a sweep."""
    folders = [a for a in arguments if "=" not in a and not a.startswith("-")]
    if folders or not arguments:
        folder = Path(folders[0] if folders else "runs")
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name one that holds runs, or an experiment=NAME.")
        return [(run, "", "") for run in all_runs(folder)], folder
    from lmablate.sweeps import expected, plan  # here: it imports torch, which a folder does not need

    sweep = plan(arguments)
    rows = [(run, f"{j.arm(sweep.factors)} seed={j.seed}", " ".join(sorted(j.overrides))) for j, run in expected(sweep)]
    return rows, Path(sweep.jobs[0].cfg.runs_dir)


def table(states: list[State]) -> Table:
    out = Table("run", "arm", "state", "step", "left", "detail")
    for s in states:
        colour = COLOURS.get(s.state, "white")
        step = f"{s.step}/{s.max_steps}" if s.step is not None and s.max_steps else ""
        left = f"{s.seconds_left:.0f} s" if s.seconds_left is not None else ""
        out.add_row(s.run, s.arm, f"[{colour}]{s.state}[/{colour}]", step, left, escape(s.detail))
    return out


if __name__ == "__main__":
    report_mistakes(status, sys.argv[1:])
