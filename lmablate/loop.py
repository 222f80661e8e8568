"""The training loop: one step, one evaluation, and `fit`, which repeats them and can be killed at any instant."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmablate.checkpoint import load_checkpoint, save_checkpoint
from lmablate.data.tokens import Batch, Batches, EvalBatches
from lmablate.diagnostics.probe import Moment, Probe, measure
from lmablate.distributed import Workers
from lmablate.errors import Diverged, UserError
from lmablate.journal import Journal
from lmablate.loss import linear_cross_entropy
from lmablate.model import Transformer
from lmablate.optim import AdamW, clip_grad_norm_, cosine_schedule, decay_groups, grad_norms
from lmablate.preempt import StopFlag
from lmablate.runs import Run
from lmablate.tracking import NoTracking

log = logging.getLogger(__name__)


@dataclass
class OptimSettings:
    """What `AdamW`, `cosine_schedule` and `clip_grad_norm_` are told. `min_lr=null` stands for lr / 10."""

    lr: float = 1e-3
    min_lr: float | None = None
    warmup_steps: int = 100
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    eps: float = 1e-8
    weight_decay: float = 0.1
    grad_clip: float = 1.0


@dataclass
class TrainSettings:
    """How long, on what, and how often to look. `threads` is per process; 0 takes every core of the job."""

    max_steps: int = 1000
    batch_size: int = 32
    log_every: int = 1
    eval_every: int = 100
    eval_batches: int = 8
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    device: str = "auto"
    precision: str = "fp32"
    compile: bool = False
    threads: int = 1


@dataclass(frozen=True)
class Data:
    """Tokens to train and to validate on, and the number of bytes behind each token of the vocabulary."""

    train: np.ndarray
    valid: np.ndarray
    token_bytes: np.ndarray


class NextTokenLoss(nn.Module):
    """The model with its loss, as one module whose forward DDP and torch.compile can wrap."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        return linear_cross_entropy(self.model.hidden(tokens), self.model.head.weight, targets)


def train_step(
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    lr: float,
    grad_clip: float,
    autocast: AbstractContextManager | None = None,
    before_update: Callable[[Tensor, Tensor], None] = lambda loss, norms: None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """One update. Returns the loss (nats per token) and the gradient's norm before clipping, on the device.

    `before_update` is called with the loss and the norm of each parameter's gradient, before they are clipped.
    """
    with autocast or nullcontext():
        loss = loss_of(*batch)
    loss.backward()
    norms = grad_norms(loss_of.parameters())
    before_update(loss.detach(), norms)
    grad_norm = clip_grad_norm_(loss_of.parameters(), grad_clip, norms)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach(), grad_norm


@torch.no_grad()
def evaluate(
    loss_of: nn.Module,
    batches: EvalBatches,
    token_bytes: np.ndarray,
    workers: Workers,
    autocast: AbstractContextManager | None = None,
) -> dict[str, float]:
    """Mean loss over `batches` in nats per token, and the same in bits per byte of text."""
    totals = torch.zeros(3, dtype=torch.float64)  # nats, tokens, bytes
    for i, (tokens, targets) in enumerate(batches):
        if i % workers.world == workers.rank:
            with autocast or nullcontext():
                loss = loss_of(tokens.to(workers.device), targets.to(workers.device)).item()
            n = targets.numel()
            totals += torch.tensor([loss * n, n, token_bytes[targets.numpy()].sum()], dtype=torch.float64)
    nats, tokens, size = workers.sum(totals).tolist()
    return {"val/loss": nats / tokens, "val/bpb": nats / size / math.log(2)}


def mixed_precision(precision: str, device: torch.device) -> AbstractContextManager:
    """torch.autocast for `train.precision=bf16`, nothing for fp32."""
    contexts = {
        "fp32": lambda: nullcontext(),
        "bf16": lambda: torch.autocast(device.type, dtype=torch.bfloat16),
    }
    if precision not in contexts:
        raise UserError(f"train.precision={precision!r} is not allowed: choose fp32 or bf16.")
    return contexts[precision]()


class Trainer:
    """Trains `model` for `train.max_steps` updates, from the newest good checkpoint of `run` where there is one.

    A row of metrics at step s belongs to the parameters after s updates. Everything that the numbers depend on
    is a function of (config, seed, step), so a run that was killed and started again ends in the same bits.
    """

    def __init__(
        self,
        model: Transformer,
        data: Data,
        run: Run,
        *,
        seed: int,
        train: TrainSettings,
        optim: OptimSettings,
        probes: Sequence[Probe] = (),
        tracker: NoTracking | None = None,
        workers: Workers | None = None,
        stop: StopFlag | None = None,
    ) -> None:
        self.workers = workers or Workers(0, 1, torch.device("cpu"))
        self.workers.check_batch(train.batch_size)
        self.model, self.data, self.run, self.train, self.optim = (
            model.to(self.workers.device),
            data,
            run,
            train,
            optim,
        )
        self.probes, self.stop = probes, stop or StopFlag()
        self.batches = Batches(data.train, model.context_length, train.batch_size, seed)
        self.eval_batches = EvalBatches(data.valid, model.context_length, train.batch_size, train.eval_batches)
        self.autocast = mixed_precision(train.precision, self.workers.device)
        self.optimizer = AdamW(decay_groups(model, optim.weight_decay), optim.lr, optim.betas, optim.eps)
        torch.manual_seed(seed)  # nothing here draws from it; what a new part draws is a function of the seed, too
        state = load_checkpoint(run.checkpoints, model, self.optimizer, of=run.id) or {"step": 0}
        self.step = self.first = int(state["step"])
        self.scores: dict[str, float] = {key: state[key] for key in state.keys() & {"val/loss", "val/bpb"}}
        self.min_lr = optim.lr / 10 if optim.min_lr is None else optim.min_lr
        self.loss_of = NextTokenLoss(model)
        compiled = torch.compile(self.loss_of) if train.compile else self.loss_of
        self.shared_loss_of = self.workers.share(compiled)  # pyright: ignore[reportArgumentType]
        self.journal = Journal(
            run,
            tracker or NoTracking(),
            first=self.first,
            last=train.max_steps,
            tokens_per_step=train.batch_size * model.context_length,
            rows_before=state.get("metric_rows"),
            silent=not self.workers.leads,
        )

    def fit(self) -> dict[str, float]:
        """Returns the last evaluation. Raises Diverged, and, once a checkpoint is saved, Preempted."""
        if self.first:
            log.info("%s goes on at step %d of %d", self.run.id, self.first, self.train.max_steps)
        try:
            while self.step < self.train.max_steps:
                self.advance(self.pause_and_look())
            scores = self.pause_and_look()
            self.journal.add(self.step, scores)
            self.journal.flush()
            self.journal.end("done", step=self.step, **self.scores)
            return self.scores
        except Diverged as error:
            names = [name for name, _ in self.model.named_parameters()]
            self.journal.record_divergence(error.step, self.batches.batch(error.step), names)
            raise
        finally:
            self.journal.close(failed=True)

    def pause_and_look(self) -> dict[str, Tensor | float]:
        """What is due between two updates: an evaluation, a checkpoint, a stop that somebody asked for."""
        last = self.step == self.train.max_steps
        row = self.look() if last or self.step % self.train.eval_every == 0 else {}
        if self.step > self.first and (last or self.step % self.train.checkpoint_every == 0):
            self.save()
        if not last and self.workers.any(self.stop.requested):
            self.save()
            self.workers.agree()
            reason = f"stopped by {self.stop.reason or 'another process'} at step {self.step}"
            self.journal.end("preempted", step=self.step, error=reason)
            if self.workers.leads:
                log.warning("%s %s and saved; the same command goes on from there", self.run.id, reason)
            self.stop.hand_over()
        return row

    def look(self) -> dict[str, Tensor | float]:
        """Evaluates, and asks the probes. Raises Diverged where the model has no finite loss any more."""
        scores = evaluate(self.loss_of, self.eval_batches, self.data.token_bytes, self.workers, self.autocast)
        if not math.isfinite(scores["val/loss"]):
            self.journal.flush()  # it may have begun at an earlier step
            raise Diverged(self.step)
        self.scores = scores
        if not self.workers.leads:
            return dict(scores)
        with torch.no_grad():
            batch = self.to_device(next(iter(self.eval_batches)))
            moment = replace(self.moment(batch), valid=self.data.valid)
            return scores | measure(self.probes, "at_evaluation", moment)

    def advance(self, row: dict[str, Tensor | float]) -> None:
        """One update, and its row of metrics where one is due."""
        started, due = time.perf_counter(), bool(row) or self.step % self.train.log_every == 0
        batch = self.to_device(self.batches.batch(self.step, self.workers.rank, self.workers.world))

        def probe(loss: Tensor, norms: Tensor) -> None:
            self.journal.watch(self.step, loss, norms)
            if due and self.probes and self.workers.leads:
                by_name = dict(zip(dict(self.model.named_parameters()), norms, strict=True))
                row.update(measure(self.probes, "at_step", self.moment(batch, by_name, norms.norm())))

        lr = cosine_schedule(
            self.step,
            lr=self.optim.lr,
            min_lr=self.min_lr,
            warmup_steps=self.optim.warmup_steps,
            max_steps=self.train.max_steps,
        )
        loss, grad_norm = train_step(
            self.shared_loss_of,
            self.optimizer,
            batch,
            lr=lr,
            grad_clip=self.optim.grad_clip,
            autocast=self.autocast,
            before_update=probe,
        )
        if due:
            row |= {"train/loss": self.workers.mean(loss), "grad_norm": grad_norm, "lr": lr}
        self.journal.step_took(time.perf_counter() - started)
        if due:
            self.journal.add(self.step, row)
        self.step += 1

    def save(self) -> None:
        """A checkpoint after `step` updates; the rows before it are on the disk first, and all of them finite."""
        self.journal.flush()
        if self.workers.leads:
            keep = self.train.keep_checkpoints
            state = {"run": self.run.id, "metric_rows": self.journal.sync(), **self.scores}
            save_checkpoint(self.run.checkpoints, self.step, self.model, self.optimizer, keep=keep, state=state)

    def moment(self, batch: Batch, norms: dict[str, Tensor] | None = None, norm: Tensor | None = None) -> Moment:
        return Moment(self.model, self.step, self.train.max_steps, *batch, norms or {}, norm, self.optim.grad_clip)

    def to_device(self, batch: Batch) -> Batch:
        """From pinned memory, so that the copy overlaps with the step before it."""
        device = self.workers.device
        if device.type != "cuda":
            return batch
        tokens, targets = (t.pin_memory().to(device, non_blocking=True) for t in batch)
        return tokens, targets
