"""What a run writes down while it trains: metrics, status, mirror, progress; and what it knows when it diverges."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lmablate.data.tokens import Batch
from lmablate.files import write_json
from lmablate.progress import Progress
from lmablate.runs import MetricsLog, Run
from lmablate.tracking import NoTracking

log = logging.getLogger(__name__)


class Diverged(Exception):
    """The loss or the gradient is no longer finite."""

    def __init__(self, step: int, row: Mapping[str, float]) -> None:
        super().__init__(f"diverged at step {step}")
        self.step, self.row = step, row


class Journal:
    """Collects rows of device tensors and writes them a few at a time, so that a GPU is rarely waited for.

    Args:
        first, last: the step that the run goes on from, and the number of updates in all.
        silent: True on the workers that do not lead; they take part in nothing here.
    """

    ROWS, SECONDS = 16, 2.0
    """A row waits for at most so many others, or so long."""

    def __init__(
        self,
        run: Run,
        tracker: NoTracking,
        *,
        first: int,
        last: int,
        tokens_per_step: int,
        silent: bool = False,
    ) -> None:
        self.run, self.tracker, self.silent, self.last = run, tracker, silent, last
        self.tokens_per_step = tokens_per_step
        self.rows: list[dict[str, Tensor | float]] = []
        self.recent: list[dict[str, float]] = []
        self.steps, self.seconds, self.flushed = 0, 0.0, 0.0
        if not silent:
            self.metrics = MetricsLog(run.metrics_path, keep_below=first)
            self.progress = Progress(run.id, last, first)
            self.status(first)

    def step_took(self, seconds: float) -> None:
        self.steps, self.seconds = self.steps + 1, self.seconds + seconds

    def add(self, step: int, row: Mapping[str, Tensor | float]) -> None:
        if self.silent:
            return
        speed = {"tokens_per_s": self.steps * self.tokens_per_step / self.seconds} if self.steps else {}
        self.rows.append({"step": step, **row, "tokens": step * self.tokens_per_step, **speed})
        self.steps, self.seconds = 0, 0.0
        if len(self.rows) >= self.ROWS or time.monotonic() - self.flushed > self.SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what has been collected. Raises Diverged at the first row with a loss or gradient not finite."""
        if not self.rows:
            return
        rows, self.rows = to_numbers(self.rows), []
        for row in rows:
            self.recent = [*self.recent[-7:], row]
            if not all(math.isfinite(row.get(key, 0.0)) for key in ("train/loss", "grad_norm", "val/loss")):
                raise Diverged(int(row["step"]), row)
            self.metrics.write(row)
            self.tracker.log(row)
        newest = rows[-1]
        self.progress.update(int(newest["step"]), newest.get("train/loss", math.nan), newest.get("tokens_per_s", 0.0))
        speed = newest.get("tokens_per_s")
        left = (self.last - newest["step"]) * self.tokens_per_step / speed if speed else None
        self.status(int(newest["step"]), seconds_left=left)

    def status(self, step: int, **facts: Any) -> None:
        self.flushed = time.monotonic()
        self.run.set_status("running", step=step, max_steps=self.last, **facts)

    def end(self, state: str, **facts: Any) -> None:
        """Writes the last word about the run, after all else is on the disk: the process may end at any moment."""
        if not self.silent:
            self.close(failed=state != "done")
            self.run.set_status(state, max_steps=self.last, **facts)

    def close(self, failed: bool) -> None:
        if not self.silent and not self.metrics.file.closed:
            self.metrics.close()
            self.progress.close()
            self.tracker.finish(failed)

    def record_divergence(self, error: Diverged, batch: Batch) -> None:
        """divergence.json: the batch of the step that was not finite, and the last rows with their norms."""
        if not self.silent:
            rows = [{key: repr(value) for key, value in row.items()} for row in self.recent]
            facts = {"step": error.step, "rows": rows, "tokens": batch[0].tolist()}
            write_json(self.run.folder / "divergence.json", facts)


def to_numbers(rows: list[dict[str, Tensor | float]]) -> list[dict[str, float]]:
    """The same rows with every tensor turned into a number, by one transfer from the device."""
    tensors = [value.detach().float() for row in rows for value in row.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else [])
    return [{k: next(numbers) if isinstance(v, Tensor) else v for k, v in row.items()} for row in rows]
