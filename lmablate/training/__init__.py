"""Training one run: the loop, the optimizer, checkpoints, metrics and progress.

session          one run, from its config to its result; start here
trainer          the loop: steps, evaluations, checkpoints, stops
step             one update
optim            AdamW, the learning-rate schedule, gradient clipping
checkpoint       checkpoints that survive a kill at any instant
optimizer_state  the state of any optimizer as named tensors and JSON
journal          metrics, status and progress of a run while it trains
divergence       finds the first step that is not finite
distributed      several processes that train one run together
tracking         mirrors of the metrics: wandb, TensorBoard, several at once
progress         the progress line on a terminal
"""

from lmablate.training.checkpoint import load_checkpoint, save_checkpoint
from lmablate.training.optim import AdamW, clip_grad_norm_, cosine_schedule, decay_groups
from lmablate.training.step import train_step
from lmablate.training.trainer import Trainer

__all__ = [
    "AdamW",
    "Trainer",
    "clip_grad_norm_",
    "cosine_schedule",
    "decay_groups",
    "load_checkpoint",
    "save_checkpoint",
    "train_step",
]
