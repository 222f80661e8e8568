"""Ways for a process to end badly, and the last thing that it says."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmablate.runs.metrics import MetricsLog


def die() -> None:
    """End this process as the kernel does for want of memory: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_barrier(number: int) -> None:
    """Let this process kill itself at its `number`-th write barrier.

    Write barriers are flushes, renames and new folders, before which it dies, and rows of metrics, of which it leaves
    half on the disk.
    """
    calls = 0

    def is_due() -> bool:
        nonlocal calls
        calls += 1
        return calls == number

    def deadly(barrier: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            if is_due():
                die()
            return barrier(*arguments, **options)

        return call

    def torn_write(self: MetricsLog, row: dict, write: Callable = MetricsLog.write) -> None:
        if is_due():
            self.file.write(json.dumps(row).encode()[:-20])
            die()
        write(self, row)

    os.fsync, os.replace, os.rename, os.mkdir = map(deadly, (os.fsync, os.replace, os.rename, os.mkdir))
    MetricsLog.write = torn_write  # pyright: ignore[reportAttributeAccessIssue] (its parameters have other types)


def last_line(log: Path) -> str:
    """Return the last line of a log."""
    return log.read_text().strip().splitlines()[-1]
