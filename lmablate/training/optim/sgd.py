"""Gradient descent with momentum."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmablate.training.optim.base import DECOUPLED, Optimizer, kept
from lmablate.training.optim.decay import Decoupled


class SGD(Optimizer):
    """Gradient descent with momentum, as in torch.optim.SGD, but with decay beside the gradient.

        m ← μ m + g
        θ ← θ - lr (u + λ θ),   u = m, or g + μ m with Nesterov's momentum

    Updates have the size of the gradient, so it needs another learning rate than AdamW, often a hundred times larger.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        weight_decay: λ.
        decay: how much a parameter decays in a step; by default as above.
        momentum: μ, in [0, 1).
        nesterov: whether the momentum is Nesterov's.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group; it names the key.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    RANGES: ClassVar[Mapping[str, float]] = {**Optimizer.RANGES, "momentum": 1.0}
    WIDTH_POWERS: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 0.1,
        weight_decay: float = 0.1,
        decay: Decoupled = DECOUPLED,
        momentum: float = 0.9,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, decay, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place."""
        lr, momentum, m = float(group["lr"]), float(group["momentum"]), kept(states, "momentum_buffer")
        torch._foreach_mul_(m, momentum)
        torch._foreach_add_(m, grads)
        updates = torch._foreach_add(grads, m, alpha=momentum) if group["nesterov"] else m
        self.decay.shrink_(params, updates, lr * self.strength(group))
        torch._foreach_add_(params, updates, alpha=-lr)
