"""The table of runs on the terminal."""

from rich.table import Table
from rich.text import Text

from lmablate.errors import duration
from lmablate.results.exports.recorded import printable
from lmablate.runs.states import RunState

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "died": "red", "missing": "yellow"}


def states_table(states: list[RunState]) -> Table:
    """Return one row per run: its state, and how far it is."""
    table = Table("run", "arm", "state", "step", "left", "detail")
    for s in states:
        state = Text(s.state, style=COLOURS.get(s.state, "white"))
        step = f"{s.step}/{s.max_steps}" if s.step is not None and s.max_steps else ""
        left = duration(s.seconds_left) if s.seconds_left is not None else ""
        table.add_row(s.run, printable(s.arm), state, step, left, printable(s.detail))
    return table
