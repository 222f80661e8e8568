"""What a run writes down while it trains: metrics, status, mirror, progress; and what it knows when it diverges."""

import logging
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
from lmablate.progress import Progress
from lmablate.runs import MetricsLog, Run
from lmablate.tracking import NoTracking

log = logging.getLogger(__name__)


class Watch:
    """Looks at every step, also at those without a row, and keeps what it saw of the last few.

    Losses and gradient norms stay on the device until `first_not_finite` asks for them all at once.
    """

    KEPT = 8

    def __init__(self) -> None:
        self.unseen: list[tuple[int, Tensor, Tensor]] = []
        self.seen: list[tuple[int, Tensor, Tensor]] = []

    def add(self, step: int, loss: Float[Tensor, ""], norms: Float[Tensor, " params"]) -> None:
        self.unseen.append((step, loss, norms))

    def first_not_finite(self) -> int | None:
        """The first step since the last call whose loss or gradient is not finite; what comes after is forgotten."""
        steps, self.unseen = self.unseen, []
        if not steps:
            return None
        finite = torch.stack([loss.isfinite() & norms.isfinite().all() for _, loss, norms in steps]).tolist()
        end = finite.index(False) + 1 if False in finite else len(finite)
        self.seen = [*self.seen, *steps[:end]][-self.KEPT :]
        return None if all(finite) else steps[end - 1][0]

    def account(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The last steps: the loss, and by parameter name the norm of its gradient before clipping."""
        return [
            {"step": step, "train/loss": loss.item(), "grad_norm": dict(zip(names, norms.tolist(), strict=True))}
            for step, loss, norms in self.seen
        ]


class Journal:
    """Collects rows of device tensors and writes them a few at a time, so that a GPU is rarely waited for.

    Args:
        first, last: the step that the run goes on from, and the number of updates in all.
        rows_before: how many rows of metrics there must be before `first`; None where nobody has counted.
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
        rows_before: int | None = None,
        silent: bool = False,
    ) -> None:
        self.run, self.tracker, self.silent, self.last = run, tracker, silent, last
        self.tokens_per_step = tokens_per_step
        self.rows: list[dict[str, Tensor | float]] = []
        self.watched = Watch()
        self.steps, self.seconds, self.flushed = 0, 0.0, 0.0
        if not silent:
            self.metrics = MetricsLog(run.metrics_path, keep_below=first, expected=rows_before)
            self.progress = Progress(run.id, last, first)
            self.status(first)

    def step_took(self, seconds: float) -> None:
        self.steps, self.seconds = self.steps + 1, self.seconds + seconds

    def watch(self, step: int, loss: Float[Tensor, ""], norms: Float[Tensor, " params"]) -> None:
        """Every step is to be shown, whether it gets a row or not."""
        if self.silent:
            return
        self.watched.add(step, loss, norms)
        if len(self.watched.unseen) > self.ROWS:
            self.flush()

    def add(self, step: int, row: Mapping[str, Tensor | float]) -> None:
        if self.silent:
            return
        speed = {"tokens_per_s": self.steps * self.tokens_per_step / self.seconds} if self.steps else {}
        self.rows.append({"step": step, **row, "tokens": step * self.tokens_per_step, **speed})
        self.steps, self.seconds = 0, 0.0
        if len(self.rows) >= self.ROWS or time.monotonic() - self.flushed > self.SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what has been collected. Raises Diverged where a step was not finite; rows before it are written."""
        rows, self.rows = to_numbers(self.rows), []
        diverged = self.watched.first_not_finite()
        for row in rows:
            if diverged is not None and row["step"] >= diverged:
                break
            self.metrics.write(row)
            self.tracker.log(row)
        if diverged is not None:
            raise Diverged(diverged)
        if rows:
            self.tell(rows[-1])

    def sync(self) -> int:
        """Makes the rows written so far outlast a power cut. Returns how many they are."""
        self.metrics.sync()
        return self.metrics.rows

    def tell(self, newest: Mapping[str, float]) -> None:
        """Shows how far the run is."""
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

    def record_divergence(self, step: int, batch: Batch, names: Sequence[str]) -> None:
        """divergence.json: the batch of the step that was not finite, and the gradients of the steps up to it."""
        if not self.silent:
            tokens, targets = (rows.tolist() for rows in batch)
            facts = {"step": step, "tokens": tokens, "targets": targets, "steps": self.watched.account(names)}
            write_json(self.run.folder / "divergence.json", facts)


def to_numbers(rows: list[dict[str, Tensor | float]]) -> list[dict[str, float]]:
    """The same rows with every tensor turned into a number, by one transfer from the device."""
    tensors = [value.detach().float() for row in rows for value in row.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else [])
    return [{k: next(numbers) if isinstance(v, Tensor) else v for k, v in row.items()} for row in rows]
