"""Training one run: the loop, the optimizer, checkpoints, metrics and progress.

session          one run, from its config to its result; start here
trainer          the loop: steps, evaluations, checkpoints, stops
step             one update
recipe           the classes that the config chooses for a run: optimizer, decay, average, schedule, loss
optim            the optimizers, weight decay, averages of the weights, gradient clipping
schedule         the learning rate of each step
branch           a run that begins with a checkpoint of a longer one
checkpoint       checkpoints that survive a kill at any instant
optimizer_state  the state of any optimizer as named tensors and JSON
journal          metrics, status and progress of a run while it trains
divergence       finds the first step that is not finite
distributed      several processes that train one run together
tracking         mirrors of the metrics: wandb, TensorBoard, several at once
progress         the progress line on a terminal
"""

from lmablate.training.checkpoint import load_checkpoint, save_checkpoint
from lmablate.training.optim import (
    ADOPT,
    EMA,
    SGD,
    SOAP,
    AdamW,
    Cautious,
    Decoupled,
    Independent,
    Lion,
    Muon,
    NoAverage,
    Optimizer,
    clip_grad_norm_,
    decay_groups,
)
from lmablate.training.recipe import Recipe
from lmablate.training.schedule import WSD, Constant, Cosine, LinearDecay, cosine_schedule, learning_rate
from lmablate.training.step import train_step
from lmablate.training.trainer import Trainer

__all__ = [
    "ADOPT", "EMA", "SGD", "SOAP", "WSD", "AdamW", "Cautious", "Constant", "Cosine", "Decoupled", "Independent",
    "LinearDecay", "Lion", "Muon", "NoAverage", "Optimizer", "Recipe", "Trainer", "clip_grad_norm_",
    "cosine_schedule", "decay_groups", "learning_rate", "load_checkpoint", "save_checkpoint", "train_step",
]  # fmt: skip
