"""What a run writes down while it trains: metrics, status, progress, and a mirror of the metrics."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lmablate.data.tokens import Batch
from lmablate.errors import Diverged
from lmablate.files import write_json
from lmablate.runs.metrics import MetricsLog
from lmablate.runs.run import Run
from lmablate.training.divergence import DivergenceCheck
from lmablate.training.progress import Progress
from lmablate.training.tracking import NoTracking


class Journal:
    """Collects rows of device tensors, and writes them a few at a time, so that a GPU is rarely waited for.

    Args:
        run: whose files are written.
        tracker: receives the same rows.
        first_step: the step that training starts or resumes from.
        max_steps: number of updates in all.
        tokens_per_step: tokens of a global batch.
        rows_before: number of metric rows the checkpoint recorded before `first_step`; None for a new run.
        silent: True on every rank but 0, which writes nothing.
    """

    # A row is written after at most so many others, or so many seconds.
    ROWS, SECONDS = 16, 2.0

    def __init__(
        self,
        run: Run,
        tracker: NoTracking,
        *,
        first_step: int,
        max_steps: int,
        tokens_per_step: int,
        rows_before: int | None = None,
        silent: bool = False,
    ) -> None:
        self.run, self.tracker, self.silent = run, tracker, silent
        self.max_steps = max_steps
        self.tokens_per_step = tokens_per_step
        self.rows: list[dict[str, Tensor | float]] = []
        self.check = DivergenceCheck()
        self.steps, self.seconds, self.flushed = 0, 0.0, 0.0
        if not silent:
            self.metrics = MetricsLog(run.metrics_path, keep_below=first_step, expected=rows_before)
            self.progress = Progress(run.id, max_steps, first_step)
            self.set_running(first_step)

    def add_step_time(self, seconds: float) -> None:
        """Add the duration of one step to the speed of the next row."""
        self.steps, self.seconds = self.steps + 1, self.seconds + seconds

    def check_step(self, step: int, loss: Float[Tensor, ""], norms: Float[Tensor, " params"]) -> None:
        """Check that a step is finite. Call it for every step, with or without a row.

        Raises:
            Diverged: if this step or one before it is not finite; not at once, see `flush`.
        """
        if self.silent:
            return
        self.check.add(step, loss, norms)
        if len(self.check.unchecked) > self.ROWS:
            self.flush()

    def add_row(self, step: int, row: Mapping[str, Tensor | float]) -> None:
        """Add a row of metrics; the tokens so far and the speed are added to it."""
        if self.silent:
            return
        speed = {"tokens_per_s": self.steps * self.tokens_per_step / self.seconds} if self.steps else {}
        self.rows.append({"step": step, **row, "tokens": step * self.tokens_per_step, **speed})
        self.steps, self.seconds = 0, 0.0
        if len(self.rows) >= self.ROWS or time.monotonic() - self.flushed > self.SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows collected so far.

        Raises:
            Diverged: if a step was not finite; the rows before it are written.
        """
        rows, self.rows = _to_numbers(self.rows), []
        diverged = self.check.first_non_finite()
        for row in rows:
            if diverged is not None and row["step"] >= diverged:
                break
            self.metrics.write(row)
            self.tracker.log(row)
        if diverged is not None:
            raise Diverged(diverged)
        if rows:
            self.report_progress(rows[-1])

    def sync(self) -> int:
        """Flush the rows written so far to disk, and return their number."""
        self.metrics.sync()
        return self.metrics.rows

    def report_progress(self, newest: Mapping[str, float]) -> None:
        """Update the progress line and status.json from the newest row."""
        self.progress.update(int(newest["step"]), newest.get("train/loss", math.nan), newest.get("tokens_per_s", 0.0))
        speed = newest.get("tokens_per_s")
        left = (self.max_steps - newest["step"]) * self.tokens_per_step / speed if speed else None
        self.set_running(int(newest["step"]), seconds_left=left)

    def set_running(self, step: int, **facts: Any) -> None:
        """Write the state "running", with the heartbeat, to status.json."""
        self.flushed = time.monotonic()
        self.run.set_status("running", step=step, max_steps=self.max_steps, **facts)

    def end(self, state: str, **facts: Any) -> None:
        """Close everything, then write the run's final state: the process may end at any moment afterwards."""
        if not self.silent:
            self.close(failed=state != "done")
            self.run.set_status(state, max_steps=self.max_steps, **facts)

    def close(self, failed: bool) -> None:
        """Close the files, the progress line and the tracker. Closing twice does nothing."""
        if not self.silent and not self.metrics.file.closed:
            self.metrics.close()
            self.progress.close()
            self.tracker.finish(failed)

    def record_divergence(self, step: int, batch: Batch, names: Sequence[str]) -> None:
        """Write divergence.json: the batch of the first step that was not finite, and the steps up to it.

        Args:
            step: that step.
            batch: its tokens and targets.
            names: of the parameters, in the order of their gradient norms.
        """
        if not self.silent:
            tokens, targets = (rows.tolist() for rows in batch)
            facts = {"step": step, "tokens": tokens, "targets": targets, "steps": self.check.last_steps(names)}
            write_json(self.run.folder / "divergence.json", facts)


def _to_numbers(rows: list[dict[str, Tensor | float]]) -> list[dict[str, float]]:
    """Turn every tensor of the rows into a number, with one transfer from the device."""
    tensors = [value.detach().float() for row in rows for value in row.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else [])
    return [{k: next(numbers) if isinstance(v, Tensor) else v for k, v in row.items()} for row in rows]
