"""ADOPT: Adam whose second moment is one step behind."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmablate.training.optim.adamw import AdamW
from lmablate.training.optim.base import DECOUPLED, Optimizer, kept
from lmablate.training.optim.decay import Decoupled


class ADOPT(Optimizer):
    """Adam that divides a gradient by the second moment of the gradients before it, arXiv 2411.02853, algorithm 2.

    It converges with every β₂, because a gradient and what it is divided by are independent. With g₀ the first gradient
    of a parameter, which only begins the second moment, and t = 1, 2, ... for the later ones:

        v₀ = g₀²,   m₀ = 0
        m ← β₁ m + (1 - β₁) clip(g / max(sqrt(v), ε), ±t^¼)
        θ ← θ - lr (m + λ θ)
        v ← β₂ v + (1 - β₂) g²

    Clipping is that of the paper's second version: early on v is a bad estimate, so a quotient may be huge. There is no
    correction of the bias of m, as in the paper.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        betas: decay rates β₁, β₂ of the two moments, in [0, 1).
        eps: ε, the smallest denominator.
        weight_decay: λ.
        decay: how much a parameter decays in a step; by default as above.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group; it names the key.
    """

    # Not Adam's name: this second moment lacks the newest gradient, so that neither can go on with the other's state.
    KEEPS: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq_before")
    RANGES: ClassVar[Mapping[str, float]] = AdamW.RANGES

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: Sequence[float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.1,
        decay: Decoupled = DECOUPLED,
    ) -> None:
        super().__init__(params, decay, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place, except those whose first gradient this is."""
        for grad, state in zip(grads, states, strict=True):
            if state["step"] == 1:
                kept([state], "exp_avg_sq_before")[0].copy_(grad.square())
        later = [i for i, state in enumerate(states) if state["step"] > 1]
        if not later:
            return
        params, grads, states = [params[i] for i in later], [grads[i] for i in later], [states[i] for i in later]
        m, v = (kept(states, key) for key in self.KEEPS)
        lr, (beta1, beta2) = float(group["lr"]), map(float, group["betas"])
        limits = [(state["step"] - 1) ** 0.25 for state in states]
        denominator = torch._foreach_clamp_min(torch._foreach_sqrt(v), float(group["eps"]))
        quotients = torch._foreach_div(grads, denominator)
        torch._foreach_clamp_max_(quotients, limits)
        torch._foreach_clamp_min_(quotients, [-limit for limit in limits])
        torch._foreach_lerp_(m, quotients, 1 - beta1)
        self.decay.shrink_(params, m, lr * self.strength(group))
        torch._foreach_add_(params, m, alpha=-lr)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
