"""AdamW, the learning-rate schedule and gradient clipping."""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay, arXiv 1711.05101, algorithm 2.

        m ← β₁ m + (1 - β₁) g              v ← β₂ v + (1 - β₂) g²
        θ ← θ - lr · λ θ - lr · m̂ / (sqrt(v̂) + ε),   m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    The step is written over the whole list of tensors with torch's `_foreach_` operations, so that a GPU launches a
    few kernels in all instead of a few per parameter. `adamw_update` is the same step for one tensor.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        betas: decay rates β₁, β₂ of the two moments, in [0, 1).
        eps: ε, which keeps the denominator away from 0.
        weight_decay: λ.

    Raises:
        UserError: for a hyper-parameter out of range; it names the key.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        for key, value in dict(lr=lr, eps=eps, weight_decay=weight_decay).items():
            if not 0 <= value < math.inf:
                raise UserError(f"optim.{key}={value} is not allowed: it must be at least 0 and finite.")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"optim.betas={list(betas)} is not allowed: it must be two numbers in [0, 1).")
        super().__init__(params, dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] (no closures)
        """Update every parameter that has a gradient, in place."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if p not in self.state:
                    self.state[p] = dict(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                self.state[p]["step"] += 1
            t = self.state[params[0]]["step"]
            grads = [p.grad for p in params]
            m = [self.state[p]["exp_avg"] for p in params]
            v = [self.state[p]["exp_avg_sq"] for p in params]
            lr, (beta1, beta2) = group["lr"], group["betas"]

            torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
            torch._foreach_lerp_(m, grads, 1 - beta1)
            torch._foreach_mul_(v, beta2)
            torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
            denominator = torch._foreach_sqrt(v)
            torch._foreach_div_(denominator, math.sqrt(1 - beta2**t))
            torch._foreach_add_(denominator, group["eps"])
            torch._foreach_addcdiv_(params, m, denominator, -lr / (1 - beta1**t))


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Return parameter groups in which matrices decay and vectors (norm weights, biases) do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [dict(params=matrices, weight_decay=weight_decay), dict(params=vectors, weight_decay=0.0)]


def cosine_schedule(step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
    """Return the learning rate of one step.

    It rises linearly to `lr` over `warmup_steps`, then falls by half a cosine to `min_lr` at the last step
    (arXiv 1608.03983, equation 5, without restarts).

    Args:
        step: counted from 0.
        lr: the highest learning rate.
        min_lr: the learning rate of the last step.
        warmup_steps: length of the rise.
        max_steps: number of steps in all.
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - 1 - warmup_steps)
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def grad_norms(params: Iterable[Tensor]) -> Float[Tensor, " params"]:
    """Return the 2-norm of every parameter's gradient, in order; one pass, and nothing leaves the device."""
    return torch.stack(torch._foreach_norm([p.grad for p in params if p.grad is not None]))


def clip_scale(norm: Float[Tensor, ""], max_norm: float) -> Float[Tensor, ""]:
    """Return the factor by which clipping multiplies a gradient of this `norm`: 1 if it is at most `max_norm`."""
    # The small constant is torch's own. There is no branch, so the CPU need not wait for a norm on the GPU.
    return (max_norm / (norm + 1e-6)).clamp(max=1.0)


def clip_grad_norm_(
    params: Iterable[Tensor], max_norm: float, norms: Float[Tensor, " params"] | None = None
) -> Float[Tensor, ""]:
    """Scale all gradients by one factor so that their joint 2-norm is at most `max_norm` (arXiv 1211.5063).

    Args:
        params: their gradients are scaled in place.
        max_norm: largest joint norm.
        norms: the result of `grad_norms(params)`, if it is known already.

    Returns:
        The joint norm before clipping.
    """
    params = [*params]
    norm = (grad_norms(params) if norms is None else norms).norm()
    torch._foreach_mul_([p.grad for p in params if p.grad is not None], clip_scale(norm, max_norm))
    return norm


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
