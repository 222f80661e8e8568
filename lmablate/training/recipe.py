"""What a run is trained with: the classes that the config's groups optim, schedule and loss choose."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig
from torch import nn

from lmablate.config.build import build
from lmablate.config.schema import OptimConfig, TrainConfig
from lmablate.model import CrossEntropy, Standard
from lmablate.training.optim import AdamW, Decoupled, NoAverage, Optimizer
from lmablate.training.schedule import Cosine, learning_rate


@dataclass(frozen=True)
class Recipe:
    """The algorithm of an optimizer, and what goes with it. By default it is what the config chooses by default.

    Attributes:
        algorithm: a class of lmablate.training.optim, with its own arguments already bound.
        decay: how much a parameter decays in a step.
        schedule: the learning rate after warm-up.
        loss: what is minimised.
        average: the average of the weights by which the run is judged.
    """

    algorithm: Callable[..., Optimizer] = AdamW
    decay: Decoupled = field(default_factory=Decoupled)
    schedule: Cosine = field(default_factory=Cosine)
    loss: CrossEntropy = field(default_factory=CrossEntropy)
    average: NoAverage = field(default_factory=NoAverage)

    def make_optimizer(self, model: nn.Module, optim: OptimConfig | DictConfig) -> Optimizer:
        """Return the optimizer of a model.

        Args:
            model: its parameters are split into the algorithm's groups, and those by their rates if it has a `scaling`.
            optim: the values lr, betas, eps and weight_decay; the algorithm gets those that its constructor names.
        """
        kind: Any = getattr(self.algorithm, "func", self.algorithm)  # a partial, as the config builds it, or the class
        taken = inspect.signature(kind).parameters
        values = {key: getattr(optim, key) for key in ("lr", "betas", "eps", "weight_decay") if key in taken}
        scaling = getattr(model, "scaling", Standard(1, 1))
        groups = scaling.groups(model, kind.groups(model, optim.weight_decay), kind.WIDTH_POWERS)
        optimizer = self.algorithm(groups, decay=self.decay, **values)
        optimizer.average = self.average
        return optimizer

    def learning_rate(self, step: int, optim: OptimConfig | DictConfig, train: TrainConfig | DictConfig) -> float:
        """Return the learning rate of a step, counted from 0."""
        return learning_rate_of(self.schedule, step, optim, train)


def learning_rate_of(
    schedule: Cosine, step: int, optim: OptimConfig | DictConfig, train: TrainConfig | DictConfig
) -> float:
    """Return the learning rate of a step, counted from 0, of a run with these settings."""
    return learning_rate(
        schedule,
        step,
        lr=optim.lr,
        min_lr=optim.lr / 10 if optim.min_lr is None else optim.min_lr,
        warmup_steps=optim.warmup_steps,
        max_steps=train.max_steps,
    )


def build_recipe(cfg: DictConfig) -> Recipe:
    """Build the classes that a checked config chooses."""
    return Recipe(*map(build, (cfg.optim.algorithm, cfg.optim.decay, cfg.schedule, cfg.loss, cfg.optim.average)))
