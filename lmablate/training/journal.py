"""The records of a run while it trains: metrics, their mirror, status, and the progress line."""

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
    """Collects rows of metrics, and writes several at a time, because each transfer waits for the GPU.

    Args:
        run: the run whose files are written.
        tracker: receives the same rows.
        first_step: the step that training starts or resumes from.
        max_steps: number of updates in all.
        tokens_per_step: tokens of a global batch.
        rows_before: number of metric rows the checkpoint recorded before `first_step`; None for a new run.
        silent: if true, nothing is written; used on every rank except 0.
    """

    # A flush is due when ROWS rows or more than ROWS unchecked steps have been collected, and with the first row that
    # is added more than SECONDS after the last flush.
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
        self._run = run
        self._tracker = tracker
        self._max_steps = max_steps
        self._tokens_per_step = tokens_per_step
        self._silent = silent
        self._rows: list[dict[str, Tensor | float]] = []
        self._divergence_check = DivergenceCheck()
        self._steps_since_row = 0
        self._seconds_since_row = 0.0
        self._last_flush = 0.0
        if not silent:
            self._metrics = MetricsLog(run.metrics_path, keep_below=first_step, expected=rows_before)
            self._progress = Progress(run.id, max_steps, first_step)
            self._set_running(first_step)

    def add_step_time(self, seconds: float) -> None:
        """Add the duration of one step to the speed of the next row."""
        self._steps_since_row += 1
        self._seconds_since_row += seconds

    def check_step(self, step: int, loss: Float[Tensor, ""], norms: Float[Tensor, " params"]) -> None:
        """Check that a step is finite. Call this for every step, with or without a row.

        Args:
            step: number of updates before it.
            loss: its training loss, in nats per token.
            norms: 2-norm of each parameter's gradient, before clipping.

        Raises:
            Diverged: if this step or an earlier one is not finite. It is found with some delay: see `flush`.
        """
        if self._silent:
            return
        self._divergence_check.add(step, loss, norms)
        if self._divergence_check.n_unchecked > self.ROWS:
            self.flush()

    def add_row(self, step: int, row: Mapping[str, Tensor | float]) -> None:
        """Add a row of metrics, with the tokens seen before this step and the speed since the last row.

        Raises:
            Diverged: see `flush`.
        """
        if self._silent:
            return
        speed: dict[str, float] = {}
        if self._steps_since_row:
            speed["tokens_per_s"] = self._steps_since_row * self._tokens_per_step / self._seconds_since_row
        self._rows.append({"step": step, **row, "tokens": step * self._tokens_per_step, **speed})
        self._steps_since_row = 0
        self._seconds_since_row = 0.0
        if len(self._rows) >= self.ROWS or time.monotonic() - self._last_flush > self.SECONDS:
            self.flush()

    def flush(self) -> None:
        """Check the steps and write the rows collected so far.

        Raises:
            Diverged: if a step was not finite. The rows before it are written, the others dropped.
        """
        rows, self._rows = _to_numbers(self._rows), []
        diverged = self._divergence_check.first_non_finite()
        for row in rows:
            if diverged is not None and row["step"] >= diverged:
                break
            self._metrics.write(row)
            self._tracker.log(row)
        if diverged is not None:
            raise Diverged(diverged)
        if rows:
            self._report_progress(rows[-1])

    def beat(self, step: int) -> None:
        """Show that the run is alive, if that was last shown some time ago: for long work that adds no rows."""
        if not self._silent and time.monotonic() - self._last_flush > self.SECONDS:
            self._set_running(step)

    def sync(self) -> int:
        """Flush the rows written so far to disk, and return their number."""
        self._metrics.sync()
        return self._metrics.rows

    def _report_progress(self, newest: Mapping[str, float]) -> None:
        """Update the progress line and status.json from the newest row."""
        self._progress.update(int(newest["step"]), newest.get("train/loss", math.nan), newest.get("tokens_per_s", 0.0))
        speed = newest.get("tokens_per_s")
        left = (self._max_steps - newest["step"]) * self._tokens_per_step / speed if speed else None
        self._set_running(int(newest["step"]), seconds_left=left)

    def _set_running(self, step: int, **facts: Any) -> None:
        """Write the state "running" to status.json; the time of this call is its heartbeat."""
        self._last_flush = time.monotonic()
        self._run.set_status("running", step=step, max_steps=self._max_steps, **facts)

    def end(self, state: str, **facts: Any) -> None:
        """Close everything, then write the run's final state: afterwards the process may end at any moment.

        Args:
            state: "done" or "preempted".
            facts: more keys of status.json.
        """
        if not self._silent:
            self.close(failed=state != "done")
            self._run.set_status(state, max_steps=self._max_steps, **facts)

    def close(self, failed: bool) -> None:
        """Close the files, the progress line and the tracker. Closing twice does nothing."""
        if not self._silent and not self._metrics.file.closed:
            self._metrics.close()
            self._progress.close()
            self._tracker.finish(failed)

    def record_divergence(self, step: int, batch: Batch, names: Sequence[str]) -> None:
        """Write divergence.json: the batch of the first step that was not finite, and the steps up to it.

        Args:
            step: number of that step.
            batch: its tokens and targets.
            names: of the parameters, in the order of their gradient norms.
        """
        if not self._silent:
            tokens, targets = (rows.tolist() for rows in batch)
            steps = self._divergence_check.last_steps(names)
            facts = {"step": step, "tokens": tokens, "targets": targets, "steps": steps}
            write_json(self._run.folder / "divergence.json", facts)


def _to_numbers(rows: list[dict[str, Tensor | float]]) -> list[dict[str, float]]:
    """Turn every tensor of the rows into a number, with one transfer from the device."""
    tensors = [value.detach().float() for row in rows for value in row.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else [])
    return [{k: next(numbers) if isinstance(v, Tensor) else v for k, v in row.items()} for row in rows]
