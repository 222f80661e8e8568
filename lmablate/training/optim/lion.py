"""Lion: the sign of a momentum."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmablate.training.optim.base import DECOUPLED, Optimizer, kept
from lmablate.training.optim.decay import Decoupled


class Lion(Optimizer):
    """Every element moves by the learning rate, in the direction of a momentum, arXiv 2302.06675, algorithm 2.

        u = sign(β₁ m + (1 - β₁) g)
        θ ← θ - lr (u + λ θ)
        m ← β₂ m + (1 - β₂) g

    An update is larger than AdamW's, so it needs a learning rate 3 to 10 times smaller, and a λ that is larger by as
    much. Half the state of AdamW is kept.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        betas: β₁, the weight of the momentum in an update, and β₂, the decay rate of the momentum, in [0, 1).
        weight_decay: λ.
        decay: how much a parameter decays in a step; by default as above.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group; it names the key.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ("exp_avg",)

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-4,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.1,
        decay: Decoupled = DECOUPLED,
    ) -> None:
        super().__init__(params, decay, lr=lr, betas=betas, weight_decay=weight_decay)

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place."""
        lr, m = float(group["lr"]), kept(states, "exp_avg")
        beta1, beta2 = map(float, group["betas"])
        updates = torch._foreach_sign(torch._foreach_lerp(m, grads, 1 - beta1))
        self.decay.shrink_(params, updates, lr * self.strength(group))
        torch._foreach_add_(params, updates, alpha=-lr)
        torch._foreach_lerp_(m, grads, 1 - beta2)
