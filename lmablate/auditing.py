"""What differs between the arms of a sweep beyond the factor, found out before anything is trained."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmablate import config
from lmablate.confounds import Start, confounds
from lmablate.data.prepare import prepare
from lmablate.data.tokens import Batches
from lmablate.loop import NextTokenLoss, train_step
from lmablate.model import Transformer
from lmablate.optim import AdamW, decay_groups, grad_norms
from lmablate.sweeps import Job, Sweep, expected

TOKENS = 1024
"""What an audit measures on, in whole sequences: enough for a norm or a speed, and done in a second or two."""

TIMED_STEPS = 3


@dataclass(frozen=True)
class ArmAudit(Start):
    """One arm at step 0, on one batch of the training data."""

    cfg: config.DictConfig
    layer_grad_norms: list[float]
    seconds_per_token: float
    saved_bytes_per_token: float
    """What the forward pass keeps for the backward pass."""

    @property
    def flops(self) -> float:
        """Training FLOPs of one run."""
        return self.flops_per_token * config.facts(self.cfg)["tokens"]

    @property
    def hours(self) -> float:
        """Estimated training time of one run on this machine."""
        return self.seconds_per_token * config.facts(self.cfg)["tokens"] / 3600

    @property
    def memory(self) -> float:
        """Estimated peak in bytes: weights, gradients, two moments, and what one batch keeps."""
        batch = self.cfg.train.batch_size * self.cfg.model.context_length
        return 16 * self.parameters + self.saved_bytes_per_token * batch


def audit_arm(name: str, job: Job) -> ArmAudit:
    """Builds the arm, looks at one batch, and times a few steps."""
    cfg = config.resolve(job.cfg)
    torch.set_num_threads(cfg.train.threads or config.cores())
    prepared = prepare(config.build(cfg.data), cfg.tokenizer, cfg.data_dir)
    rows = min(max(1, TOKENS // cfg.model.context_length), cfg.train.batch_size)
    batches = Batches(prepared.train.array, cfg.model.context_length, rows, cfg.seed)
    model = config.build_model(cfg)
    loss_of = NextTokenLoss(model)
    tokens, targets = batches.batch(0)
    with torch.no_grad():
        logits = model(tokens)
    saved = SavedBytes()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        loss = loss_of(tokens, targets)
    loss.backward()
    norms = dict(zip(dict(model.named_parameters()), grad_norms(model.parameters()).tolist(), strict=True))
    facts = config.facts(cfg)
    return ArmAudit(
        name=name,
        cfg=cfg,
        parameters=facts["parameters"],
        mlp_parameters=sum(p.numel() for n, p in model.named_parameters() if ".mlp." in n),
        flops_per_token=facts["flops_per_token"],
        grad_clip=cfg.optim.grad_clip,
        uniform=math.log(model.vocab_size),
        init_loss=loss.item(),
        logit_std=logits.std().item(),
        grad_norm=math.hypot(*norms.values()),
        layer_grad_norms=[
            math.hypot(*(v for n, v in norms.items() if n.startswith(f"blocks.{i}."))) for i in range(len(model.blocks))
        ],
        position_ratio=position_ratio(model, tokens),
        seconds_per_token=time_steps(loss_of, batches, cfg) / tokens.numel(),
        saved_bytes_per_token=saved.bytes / tokens.numel(),
    )


class SavedBytes:
    """Adds up the storage that autograd keeps, each once, without the parameters' own."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            self.sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


@torch.no_grad()
def position_ratio(model: Transformer, tokens: Tensor) -> float:
    embedded = model.embed(tokens)
    added = model.pos.embed(embedded) - embedded
    return (added.square().mean() / embedded.square().mean()).sqrt().item()


def time_steps(loss_of: NextTokenLoss, batches: Batches, cfg: config.DictConfig) -> float:
    """Seconds of a training step: the quickest of a few, for the first one warms up."""
    optimizer = AdamW(decay_groups(loss_of.model, 0.0), lr=0.0)
    seconds = []
    for step in range(TIMED_STEPS):
        started = time.perf_counter()
        train_step(loss_of, optimizer, batches.batch(step), lr=0.0, grad_clip=cfg.optim.grad_clip)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def warnings(arms: Sequence[ArmAudit], sweep: Sweep) -> Iterator[str]:
    """The confounds among `arms`, in plain words."""
    common_lr = None if "optim.lr" in sweep.factors else arms[0].cfg.optim.lr
    return confounds(arms, len({job.seed for job in sweep.jobs}), common_lr)


@dataclass(frozen=True)
class Cost:
    """What a sweep takes."""

    done: int
    to_do: int
    flops: float
    hours: float


def cost(sweep: Sweep, arms: Mapping[str, ArmAudit]) -> Cost:
    """Counts what is done already, and adds up the rest by the arms' measured speed."""
    to_do = [arms[job.arm(sweep.factors)] for job, run in expected(sweep) if run.status()["state"] != "done"]
    return Cost(
        done=len(sweep.jobs) - len(to_do),
        to_do=len(to_do),
        flops=sum(arm.flops for arm in to_do),
        hours=sum(arm.hours for arm in to_do),
    )
