"""A progress line for a person at a terminal; silence for a log file."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """`label  ━━━  120/600  loss 4.812  18.3k tok/s  0:01:12`, drawn only where stderr is a terminal."""

    def __init__(self, label: str, total: int, done: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.1f}k tok/s"),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self.task = self.bar.add_task(label, total=total, completed=done, loss=float("nan"), speed=0.0)
        self.bar.start()

    def update(self, step: int, loss: float, tokens_per_s: float) -> None:
        self.bar.update(self.task, completed=step, loss=loss, speed=tokens_per_s / 1000)

    def close(self) -> None:
        self.bar.stop()
