"""A progress line on a terminal; a log file gets none."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """The line `label  ━━━  120/600  loss 4.812  18.3k tok/s  0:01:12`, drawn only if stderr is a terminal.

    Args:
        label: text in front of the bar.
        total: number of steps in all.
        done: number of steps made before.
    """

    def __init__(self, label: str, total: int, done: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(label, total=total, completed=done, news="")
        self._bar.start()

    def update(self, step: int, loss: float, tokens_per_s: float) -> None:
        """Show the number of steps made, the last training loss and the speed."""
        news = f"loss {loss:.3f}  {tokens_per_s / 1000:.1f}k tok/s" if tokens_per_s else ""
        self._bar.update(self._task, completed=step, news=news)

    def close(self) -> None:
        """Stop drawing; the line stays."""
        self._bar.stop()
