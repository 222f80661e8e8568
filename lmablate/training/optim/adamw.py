"""AdamW, for all parameters at once; `adamw_update` is the same step as the paper writes it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lmablate.errors import UserError
from lmablate.model.fast import adamw_, have_kernels
from lmablate.training.optim.base import DECOUPLED, Optimizer, kept
from lmablate.training.optim.decay import Decoupled


class AdamW(Optimizer):
    """Adam with decoupled weight decay, arXiv 1711.05101, algorithm 2.

        m ← β₁ m + (1 - β₁) g              v ← β₂ v + (1 - β₂) g²
        θ ← θ - lr · λ θ - lr · m̂ / (sqrt(v̂) + ε),   m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    On a CPU a kernel makes the step of one parameter after another. Elsewhere it is written over the whole list of
    tensors with torch's `_foreach_` operations, so that a GPU launches a few kernels in all instead of a few per
    parameter. `adamw_update` is the same step for one tensor. Each parameter counts its own steps t. The state has the
    form of torch.optim.AdamW's, and each loads the other's.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        betas: decay rates β₁, β₂ of the two moments, in [0, 1).
        eps: ε, which keeps the denominator away from 0.
        weight_decay: λ.
        decay: how much a parameter decays in a step; by default as above.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group; it names the key.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    RANGES: ClassVar[Mapping[str, float]] = {"lr": math.inf, "eps": math.inf, "weight_decay": math.inf}

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        decay: Decoupled = DECOUPLED,
    ) -> None:
        super().__init__(params, decay, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Check the hyper-parameters of a group, also one of torch's, which has options that this class has not.

        Raises:
            UserError: if one is out of range, or such an option is set.
        """
        super().check_group(group)
        coupled = group["weight_decay"] > 0 and not group.get("decoupled_weight_decay", True)
        if coupled or group.get("amsgrad") or group.get("maximize"):
            raise UserError("this AdamW decays weights apart from the gradient, and has neither amsgrad nor maximize.")

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place."""
        steps = [int(state["step"]) for state in states]  # torch.optim.AdamW keeps tensors
        m, v = (kept(states, key) for key in ("exp_avg", "exp_avg_sq"))
        lr, eps, weight_decay = float(group["lr"]), float(group["eps"]), self.strength(group)
        beta1, beta2 = map(float, group["betas"])
        everything = [*params, *grads, *m, *v]
        is_plain = self.decay.uniform and all(x.is_contiguous() for x in everything)
        if is_plain and have_kernels(*everything, whole=0):
            for *tensors, t in zip(params, grads, m, v, steps, strict=True):
                adamw_(*tensors, t=t, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
            return

        torch._foreach_lerp_(m, grads, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
        denominator = torch._foreach_sqrt(v)
        torch._foreach_div_(denominator, [math.sqrt(1 - beta2**t) for t in steps])
        torch._foreach_add_(denominator, eps)
        self.decay.shrink_(params, m, lr * weight_decay)  # the update has the sign of m
        torch._foreach_addcdiv_(params, m, denominator, [-lr / (1 - beta1**t) for t in steps])


# Reference: not used in training. The tests compare `AdamW` with it.


def adamw_update(
    p: Float[Tensor, "*shape"],
    grad: Float[Tensor, "*shape"],
    m: Float[Tensor, "*shape"],
    v: Float[Tensor, "*shape"],
    *,
    t: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the new (p, m, v) after one step of `AdamW` for one tensor, written as in the paper.

    Args:
        p: the parameter, θ.
        grad: its gradient, g.
        m: first moment.
        v: second moment.
        t: number of this step, counted from 1.
        lr: learning rate.
        betas: decay rates β₁, β₂ of the moments.
        eps: ε.
        weight_decay: λ.
    """
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * weight_decay * p - lr * m_hat / (v_hat.sqrt() + eps), m, v
