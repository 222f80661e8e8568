"""Measure each arm of a sweep at step 0, to see what differs beyond the factor before anything is trained."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig
from torch import Tensor

from lmablate.config.build import build, build_model, model_shape, resolve_config
from lmablate.config.identity import training_tokens
from lmablate.config.tuned import tuning_warnings
from lmablate.data.prepare import prepare_data
from lmablate.data.tokens import Batches
from lmablate.diagnostics.start import position_ratio
from lmablate.errors import counted
from lmablate.evidence.confounds import ArmStart, find_confounds
from lmablate.evidence.facts import BUDGET_FACTORS
from lmablate.machine import available_threads
from lmablate.model.dropout import dropping
from lmablate.sweep.jobs import Job, Sweep
from lmablate.training.optim import Optimizer, grad_norms
from lmablate.training.recipe import build_recipe
from lmablate.training.step import NextTokenLoss, both_losses, train_step

# Tokens that an audit measures on, rounded to whole sequences: enough for a norm or a speed in a second or two.
TOKENS = 1024
TIMED_STEPS = 3


@dataclass(frozen=True)
class ArmAudit(ArmStart):
    """One arm at step 0, on one batch of the training data.

    Attributes:
        cfg: the arm's resolved config.
        layer_grad_norms: 2-norm of each block's gradient, first block first.
        seconds_per_token: duration of a training step on this machine, over the number of its tokens.
        saved_bytes_per_token: bytes that the forward pass keeps for the backward pass, over the number of tokens.
        state_bytes: bytes that the optimizer keeps.
    """

    cfg: DictConfig
    layer_grad_norms: list[float]
    seconds_per_token: float
    saved_bytes_per_token: float
    state_bytes: int = 0

    @property
    def flops(self) -> float:
        """Training FLOPs of one run."""
        return self.flops_per_token * training_tokens(self.cfg)

    @property
    def hours(self) -> float:
        """Estimated training time of one run on this machine."""
        return self.seconds_per_token * training_tokens(self.cfg) / 3600

    @property
    def memory(self) -> float:
        """Estimated peak in bytes: weights, gradients, the optimizer's state, and what one batch keeps."""
        batch = self.cfg.train.batch_size * self.cfg.model.context_length
        return 8 * self.parameters + self.state_bytes + self.saved_bytes_per_token * batch


def audit_arm(name: str, job: Job) -> ArmAudit:
    """Build an arm, measure its model on one batch, and time a few steps.

    Args:
        name: the arm's name in tables.
        job: one run of the arm.
    """
    cfg = resolve_config(job.cfg)
    torch.set_num_threads(cfg.train.threads or available_threads())
    prepared = prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir)
    rows = min(max(1, TOKENS // cfg.model.context_length), cfg.train.batch_size)
    batches = Batches(prepared.train.array, cfg.model.context_length, rows, cfg.seed)
    model = build_model(cfg)
    recipe = build_recipe(cfg)
    loss_of, optimizer = NextTokenLoss(model, recipe.loss), recipe.make_optimizer(model, cfg.optim)
    tokens, targets = batches.batch(0)
    with torch.no_grad():
        logits = model(tokens)
    loss, saved_bytes = _backward(loss_of, tokens, targets)
    norms = dict(zip(dict(model.named_parameters()), grad_norms(model.parameters()).tolist(), strict=True))
    seconds = _time_steps(loss_of, optimizer, batches, cfg.optim.grad_clip)
    shape = model_shape(cfg)
    return ArmAudit(
        name=name,
        cfg=cfg,
        parameters=shape.parameters(),
        mlp_parameters=sum(p.numel() for n, p in model.named_parameters() if ".mlp." in n),
        flops_per_token=shape.flops_per_token(),
        grad_clip=cfg.optim.grad_clip,
        uniform=math.log(model.vocab_size),
        init_loss=loss,
        logit_std=logits.std().item(),
        grad_norm=math.hypot(*norms.values()),
        layer_grad_norms=[
            math.hypot(*(v for n, v in norms.items() if n.startswith(f"blocks.{i}."))) for i in range(len(model.blocks))
        ],
        position_ratio=position_ratio(model, tokens).item(),
        seconds_per_token=seconds / tokens.numel(),
        saved_bytes_per_token=saved_bytes / tokens.numel(),
        state_bytes=sum(t.nbytes for kept in optimizer.state.values() for t in kept.values() if isinstance(t, Tensor)),
    )


def sweep_confounds(arms: Sequence[ArmAudit], sweep: Sweep) -> Iterator[str]:
    """Yield the confounds among the arms of `sweep`, one sentence each."""
    seeds = {job.seed for job in sweep.jobs}
    tuned = [arm.cfg for arm in arms if arm.cfg.tuned is not None]
    rates = {} if tuned or "optim.lr" in sweep.factors else {arm.name: arm.cfg.optim.lr for arm in arms}
    budgets = [factor for factor in sweep.factors if factor in BUDGET_FACTORS]
    with_budget = [replace(arm, budget=tuple(sweep.arms[arm.name].levels(budgets).values())) for arm in arms]
    yield from find_confounds(with_budget, len(seeds), rates)
    for cfg in tuned:
        yield from tuning_warnings(cfg, seeds)
    efforts = {arm.name: len(arm.cfg.tuned.arms[0].get("trials") or ()) for arm in arms if arm.cfg.tuned is not None}
    if len({*efforts.values()}) > 1:
        least, most = min(efforts, key=efforts.__getitem__), max(efforts, key=efforts.__getitem__)
        yield (
            f"the arms were tuned with unequal effort: {counted(efforts[most], 'trial')} for {most}, and "
            f"{counted(efforts[least], 'trial')} for {least}."
        )


def _backward(loss_of: NextTokenLoss, tokens: Tensor, targets: Tensor) -> tuple[float, int]:
    """Backpropagate the loss of a batch.

    Returns:
        The loss in nats per token, and the bytes that autograd kept from the forward to the backward pass.
    """
    sizes: dict[int, int] = {}

    def note_size(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note_size, lambda tensor: tensor),
        dropping(loss_of.model, 0, torch.arange(len(tokens))),
    ):
        minimised, loss = both_losses(loss_of(tokens, targets))
    minimised.backward()
    return loss.item(), sum(sizes.values())


def _time_steps(loss_of: NextTokenLoss, optimizer: Optimizer, batches: Batches, grad_clip: float) -> float:
    """Return the seconds of a training step: the fastest of a few, because the first one warms up.

    If an optimizer does some of its work only in every nth step, it is the fastest mean of n steps.
    """
    seconds, period = [], optimizer.period
    for step in range(TIMED_STEPS - 1 + period):
        started = time.perf_counter()
        batch = batches.batch(step)
        dropped = dropping(loss_of.model, step, torch.arange(len(batch[0])))
        train_step(loss_of, optimizer, batch, lr=0.0, grad_clip=grad_clip, autocast=dropped)
        seconds.append(time.perf_counter() - started)
    return min(sum(seconds[first : first + period]) / period for first in range(TIMED_STEPS))
