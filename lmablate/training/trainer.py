"""The training loop: steps, evaluations, checkpoints, and stops on request."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from lmablate.config.schema import OptimConfig, TrainConfig
from lmablate.data.tokens import Batch, Batches, EvalBatches, windows
from lmablate.diagnostics.probe import Probe, ProbeContext, probe_evaluation, probe_step
from lmablate.errors import Diverged, counted
from lmablate.model import Transformer
from lmablate.model.dropout import dropping
from lmablate.runs.run import Run
from lmablate.runs.stop_signal import StopFlag
from lmablate.training.branch import Origin
from lmablate.training.checkpoint import load_checkpoint, save_checkpoint
from lmablate.training.distributed import Workers
from lmablate.training.journal import Journal
from lmablate.training.optim import clip_scale
from lmablate.training.recipe import Recipe
from lmablate.training.step import NextTokenLoss, mixed_precision, train_step
from lmablate.training.tracking import NoTracking

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Token ids to train on and to validate on.

    Attributes:
        train: ids of the training text, [n_tokens].
        valid: ids of the validation text, [n_tokens].
        token_bytes: bytes of text behind each id, [vocab_size].
    """

    train: np.ndarray
    valid: np.ndarray
    token_bytes: np.ndarray


class Trainer:
    """Trains a model for `train.max_steps` updates, starting from the newest good checkpoint of its run, if any.

    A row of metrics at step s belongs to the parameters after s updates. Every number depends only on the config, the
    seed and the step, so a run that was killed and started again ends in the same bits.

    Args:
        model: trained in place.
        data: the tokens of both splits.
        run: the run whose metrics, status and checkpoints are written.
        seed: chooses the batches.
        train: length, batch size and intervals.
        optim: settings of the optimizer and of the learning-rate schedule.
        recipe: the optimizer, the schedule and the loss themselves; None stands for the default ones.
        probes: measurements to take during training.
        tracker: mirrors the metrics; None mirrors nothing.
        workers: the process group; None trains in this process alone.
        stop: if a stop is requested, training ends after the current step; None: it is never requested.
        origin: where the run begins if it has no checkpoint of its own; None stands for step 0.

    Raises:
        UserError: if the batch cannot be split among the processes, if the precision is not known, or if the newest
            intact checkpoint or the rows of metrics do not belong to this run.
    """

    def __init__(
        self,
        model: Transformer,
        data: TrainingData,
        run: Run,
        *,
        seed: int,
        train: TrainConfig,
        optim: OptimConfig,
        recipe: Recipe | None = None,
        probes: Sequence[Probe] = (),
        tracker: NoTracking | None = None,
        workers: Workers | None = None,
        stop: StopFlag | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.workers = workers or Workers(0, 1, torch.device("cpu"))
        self.workers.check_batch(train.batch_size)
        self.model = model.to(self.workers.device)
        self.data = data
        self.run = run
        self.train = train
        self.optim = optim
        self.recipe = recipe or Recipe()
        self.probes = probes
        self.stop = stop or StopFlag()
        self.batches = Batches(data.train, model.context_length, train.batch_size, seed)
        self.eval_batches = EvalBatches(data.valid, model.context_length, train.batch_size, train.eval_batches)
        self.autocast = mixed_precision(train.precision, self.workers.device)
        self.optimizer = self.recipe.make_optimizer(model, optim)
        torch.manual_seed(seed)  # none of our parts draws from torch's global generator; a user's may
        state = load_checkpoint(run.checkpoints, model, self.optimizer, run_id=run.id) or self.begin(origin)
        self.step = self.first_step = int(state["step"])
        self.scores: dict[str, float] = {key: state[key] for key in state.keys() & {"val/loss", "val/bpb"}}
        self.loss_of = NextTokenLoss(model)
        trained = NextTokenLoss(model, self.recipe.loss)
        compiled = torch.compile(trained) if train.compile else trained
        self.distributed_loss_of = self.workers.wrap_ddp(compiled)  # pyright: ignore[reportArgumentType] (torch's own stub)
        self.journal = Journal(
            run,
            tracker or NoTracking(),
            first_step=self.first_step,
            max_steps=train.max_steps,
            tokens_per_step=train.batch_size * model.context_length,
            rows_before=state.get("metric_rows"),
            silent=not self.workers.is_main,
        )

    def begin(self, origin: Origin | None) -> dict[str, Any]:
        """Return the state that a run without a checkpoint begins with; a branch continues the rows of its parent."""
        if origin is None:
            return {"step": 0}
        state = origin.load(self.model, self.optimizer)
        if self.workers.is_main:
            origin.copy_rows(self.run)
        return state

    def fit(self) -> dict[str, float]:
        """Train to the end.

        Returns:
            The last evaluation: `val/loss` in nats per token, and `val/bpb` in bits per byte of text; and the same of
            the whole validation file, `final/val_loss` and `final/val_bpb`.

        Raises:
            Diverged: if a loss or a gradient is not finite.
            Preempted: after a checkpoint is saved, if a stop was requested.
        """
        steps = counted(self.train.max_steps, "step")
        begins = f"resumes at step {self.first_step} of {steps}" if self.first_step else f"starts, {steps}"
        log.info("run %s %s", self.run.id, begins)
        try:
            while self.step < self.train.max_steps:
                self.train_one_step(self.between_steps())
            row, final = self.between_steps(), self.final_scores()
            self.journal.add_row(self.step, row | final)
            self.journal.flush()
            self.journal.end("done", step=self.step, **self.scores, **final)
            return self.scores | final
        except Diverged as error:
            names = [name for name, _ in self.model.named_parameters()]
            self.journal.record_divergence(error.step, self.batches.batch(error.step), names)
            raise
        finally:
            self.journal.close(failed=True)

    def between_steps(self) -> dict[str, Tensor | float]:
        """Evaluate, save and stop, if that is due after `step` updates.

        Returns:
            The evaluation; empty if none was due.
        """
        last = self.step == self.train.max_steps
        row = self.evaluate_and_probe() if last or self.step % self.train.eval_every == 0 else {}
        if self.step > self.first_step and (last or self.step % self.train.checkpoint_every == 0):
            self.save()
        if not last and self.workers.any(self.stop.requested):
            self.save_and_stop()
        return row

    def evaluate_and_probe(self) -> dict[str, Tensor | float]:
        """Evaluate the model on the validation batches; on rank 0, run the probes as well.

        If an average of the weights is kept, it is the model that is evaluated, because it is what the run leaves.

        Returns:
            `val/loss`, `val/bpb` and the metrics of the probes; `val/raw_loss`, the loss of the weights themselves,
            beside an average.

        Raises:
            Diverged: if the validation loss is not finite.
        """
        with self.optimizer.averaged() as averages:
            row = self.evaluate()
        return row | {"val/raw_loss": self.validation_scores()["val/loss"]} if averages else row

    def evaluate(self) -> dict[str, Tensor | float]:
        """Evaluate the model as it is, and run the probes.

        Raises:
            Diverged: if the validation loss is not finite.
        """
        scores = self.scores = self.validation_scores()
        if not self.workers.is_main:
            return dict(scores)
        with torch.no_grad():
            tokens, targets = self.to_device(next(iter(self.eval_batches)))
            context = ProbeContext(self.model, self.step, self.train.max_steps, tokens, targets, valid=self.data.valid)
            return scores | probe_evaluation(self.probes, context)

    def validation_scores(self) -> dict[str, float]:
        """Return `val/loss` and `val/bpb` of the model as it is."""
        return self.scores_on(self.eval_batches, "val/loss", "val/bpb")

    def final_scores(self) -> dict[str, float]:
        """Return `final/val_loss` and `final/val_bpb`: those of what the run leaves, on the whole validation file.

        The few batches of an evaluation during training are a sample, whose error is as large as many an effect.
        With `final_eval_batches` they are computed on so many batches; with 0 there are none.
        """
        limit, text = self.train.final_eval_batches, self.data.valid
        if limit == 0:
            return {}
        context, rows = self.model.context_length, self.train.batch_size
        batches = windows(text, context, rows) if limit is None else EvalBatches(text, context, rows, limit)
        with self.optimizer.averaged():
            return self.scores_on(batches, "final/val_loss", "final/val_bpb")

    def scores_on(self, batches: Iterable[Batch], *names: str) -> dict[str, float]:
        """Return the mean loss of the model as it is, under two names: in nats per token, in bits per byte of text.

        Raises:
            Diverged: if it is not finite.
        """
        alive = self.shown_alive(batches)
        losses = _mean_losses(self.loss_of, alive, self.data.token_bytes, self.workers, self.autocast)
        if not math.isfinite(losses[0]):
            self.journal.flush()  # raises Diverged for an earlier training step, if it began there
            raise Diverged(self.step)
        return dict(zip(names, losses, strict=True))

    def shown_alive(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches, and write the run's heartbeat meanwhile."""
        for batch in batches:
            self.journal.beat(self.step)
            yield batch

    def train_one_step(self, row: dict[str, Tensor | float]) -> None:
        """Make one update, and add its row of metrics to the journal if one is due.

        Args:
            row: the evaluation at this step, or an empty dict; the metrics of the step are added to it in place.
        """
        started, due = time.perf_counter(), bool(row) or self.step % self.train.log_every == 0
        batch = self.to_device(self.batches.batch(self.step, self.workers.rank, self.workers.world_size))

        def before_update(loss: Tensor, norms: Tensor) -> None:
            self.journal.check_step(self.step, loss, norms)
            if due and self.probes and self.workers.is_main:
                row.update(probe_step(self.probes, self.step_context(batch, norms)))

        lr = self.recipe.learning_rate(self.step, self.optim, self.train)
        loss, grad_norm = train_step(
            self.distributed_loss_of,
            self.optimizer,
            batch,
            lr=lr,
            grad_clip=self.optim.grad_clip,
            autocast=self.forward_context(len(batch[0])),
            before_update=before_update,
        )
        if due:
            row |= {"train/loss": self.workers.mean(loss), "grad_norm": grad_norm, "lr": lr}
        self.journal.add_step_time(time.perf_counter() - started)
        if due:
            self.journal.add_row(self.step, row)
        self.step += 1

    @contextmanager
    def forward_context(self, rows: int) -> Iterator[None]:
        """Compute a training step's forward pass in the block: mixed precision, if it is on, and dropout."""
        first, stride = self.workers.rank, self.workers.world_size  # `Batches` deals out rows like cards
        numbers = first + stride * torch.arange(rows, device=self.workers.device)
        with self.autocast, dropping(self.model, self.step, numbers):
            yield

    def step_context(self, batch: Batch, norms: Tensor) -> ProbeContext:
        """Return the probes' view of a training step, between the backward pass and clipping.

        Args:
            batch: tokens and targets of this process.
            norms: 2-norm of each parameter's gradient.
        """
        grad_norm = norms.norm()
        return ProbeContext(
            self.model,
            self.step,
            self.train.max_steps,
            *batch,
            parameter_norms=dict(zip(dict(self.model.named_parameters()), norms, strict=True)),
            grad_norm=grad_norm,
            clip_scale=clip_scale(grad_norm, self.optim.grad_clip),
        )

    def save(self) -> None:
        """Write a checkpoint after `step` updates.

        The rows before it reach the disk first, so that a resumed run can continue them; all of them are finite.

        Raises:
            Diverged: if a step before it was not finite.
        """
        self.journal.flush()
        if self.workers.is_main:
            keep = self.train.keep_checkpoints
            state = {"run": self.run.id, "metric_rows": self.journal.sync(), **self.scores}
            save_checkpoint(self.run.checkpoints, self.step, self.model, self.optimizer, keep=keep, state=state)

    def save_and_stop(self) -> NoReturn:
        """Write a checkpoint and the state "preempted", then end the process as the signal asks. Never returns.

        Raises:
            Preempted: unless a signal handler that was installed before ends the process in another way.
        """
        self.save()
        self.workers.barrier()
        reason = f"stopped by {self.stop.reason or 'another process'} at step {self.step}"
        self.journal.end("preempted", step=self.step, error=reason)
        if self.workers.is_main:
            log.warning("%s %s and saved; the same command resumes it", self.run.id, reason)
        self.stop.exit_after_signal()

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device, from pinned memory, so that the CPU does not wait for the copy to end."""
        device = self.workers.device
        if device.type != "cuda":
            return batch
        tokens, targets = (t.pin_memory().to(device, non_blocking=True) for t in batch)
        return tokens, targets


@torch.no_grad()
def _mean_losses(
    loss_of: nn.Module,
    batches: Iterable[Batch],
    token_bytes: np.ndarray,
    workers: Workers,
    autocast: AbstractContextManager | None = None,
) -> tuple[float, float]:
    """Return the mean loss over `batches` in nats per token, and in bits per byte of text.

    Args:
        loss_of: maps a batch to its mean loss in nats per token.
        batches: split among the workers.
        token_bytes: bytes of text behind each id, [vocab_size].
        workers: the process group that evaluates together.
        autocast: context of the forward pass.
    """
    totals = torch.zeros(3, dtype=torch.float64)  # nats, tokens, bytes
    for i, (tokens, targets) in enumerate(batches):
        if i % workers.world_size == workers.rank:
            with autocast or nullcontext():
                loss = loss_of(tokens.to(workers.device), targets.to(workers.device)).item()
            n = targets.numel()
            totals += torch.tensor([loss * n, n, token_bytes[targets.numpy()].sum()], dtype=torch.float64)
    nats, tokens, size = workers.sum(totals).tolist()
    return nats / tokens, nats / size / math.log(2)
