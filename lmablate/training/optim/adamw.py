"""AdamW, the learning-rate schedule and gradient clipping."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.fast import adamw_, have_kernels

# What AdamW keeps of each parameter.
_STATE = {"step", "exp_avg", "exp_avg_sq"}


class _Optimizer(torch.optim.Optimizer):
    """torch's base class, without the wrappers that import torch's compiler when they are called: a second per run."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class AdamW(_Optimizer):
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

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group; it names the key.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; torch.optim calls this for the first groups, too."""
        if isinstance(param_group, dict):  # torch.optim refuses anything else
            _check_hyper_parameters(self.defaults | param_group)
        super().add_param_group(param_group)
        self.param_groups[-1]["betas"] = tuple(self.param_groups[-1]["betas"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, here or in torch.optim.AdamW.

        Raises:
            UserError: for a state that another optimizer left, or AdamW with an option that this one does not have.
        """
        for group in state_dict["param_groups"]:
            _check_hyper_parameters(group)
        if kept := {key for state in state_dict["state"].values() for key in state} - _STATE:
            raise UserError(f"AdamW keeps {', '.join(sorted(_STATE))}, but the state to load has {', '.join(kept)}.")
        super().load_state_dict(state_dict)

    @torch.no_grad()
    # torch declares two overloads that say no more than this.
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient, in place.

        Args:
            closure: computes the loss and its gradients anew; it is called before the update.

        Returns:
            What `closure` returned; None without one.

        Raises:
            UserError: if a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads, states = _real(_gradients(params)), [self._advance(p) for p in params]
            steps = [int(state["step"]) for state in states]  # torch.optim.AdamW keeps tensors
            m, v = (_real([state[key] for state in states]) for key in ("exp_avg", "exp_avg_sq"))
            params = _real(params)
            lr, eps, weight_decay = (float(group[key]) for key in ("lr", "eps", "weight_decay"))
            beta1, beta2 = map(float, group["betas"])
            everything = [*params, *grads, *m, *v]
            if have_kernels(*everything, whole=0) and all(x.is_contiguous() for x in everything):
                for *tensors, t in zip(params, grads, m, v, steps, strict=True):
                    adamw_(*tensors, t=t, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
                continue

            torch._foreach_mul_(params, 1 - lr * weight_decay)
            torch._foreach_lerp_(m, grads, 1 - beta1)
            torch._foreach_mul_(v, beta2)
            torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
            denominator = torch._foreach_sqrt(v)
            torch._foreach_div_(denominator, [math.sqrt(1 - beta2**t) for t in steps])
            torch._foreach_add_(denominator, eps)
            torch._foreach_addcdiv_(params, m, denominator, [-lr / (1 - beta1**t) for t in steps])
        return loss

    def _advance(self, p: Tensor) -> dict[str, Any]:
        """Count a step of a parameter, and return its state."""
        state = self.state[p]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        state["step"] += 1
        return state


def _check_hyper_parameters(group: Mapping[str, Any]) -> None:
    for key in ("lr", "eps", "weight_decay"):
        if not _in_range(group.get(key), math.inf):
            raise UserError(f"optim.{key}={group.get(key)} is not allowed: it must be a number, at least 0 and finite.")
    betas = group.get("betas")
    if not isinstance(betas, Sequence) or len(betas) != 2 or not all(_in_range(beta, 1) for beta in betas):
        raise UserError(f"optim.betas={betas} is not allowed: it must be two numbers in [0, 1).")
    coupled = group["weight_decay"] > 0 and not group.get("decoupled_weight_decay", True)
    if coupled or group.get("amsgrad") or group.get("maximize"):
        raise UserError("this AdamW decays weights apart from the gradient, and has neither amsgrad nor maximize.")


def _in_range(value: Any, limit: float) -> bool:
    """Return whether `value` is a number in [0, limit); a tensor with one element is a number, too."""
    if isinstance(value, bool) or not isinstance(value, Real | Tensor):
        return False
    return (not isinstance(value, Tensor) or value.numel() == 1) and 0 <= float(value) < limit


def _real(tensors: list[Tensor]) -> list[Tensor]:
    """Return the tensors, the complex ones as pairs of real numbers, which Adam treats apart."""
    return [torch.view_as_real(t) if t.is_complex() else t for t in tensors]


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Return parameter groups in which matrices decay and vectors (norm weights, biases) do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [dict(params=matrices, weight_decay=weight_decay), dict(params=vectors, weight_decay=0.0)]


def cosine_schedule(step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
    """Return the learning rate of one step.

    It rises linearly to `lr` over `warmup_steps`, then falls by half a cosine to `min_lr` at the last step
    (arXiv 1608.03983, equation 5, without restarts), and stays there.

    Args:
        step: counted from 0.
        lr: the highest learning rate.
        min_lr: the learning rate of the last step.
        warmup_steps: length of the rise; 0 for none.
        max_steps: number of steps in all.

    Raises:
        UserError: if a number is negative.
    """
    for key, value in dict(step=step, lr=lr, min_lr=min_lr, warmup_steps=warmup_steps, max_steps=max_steps).items():
        if not value >= 0:
            raise UserError(f"{key}={value} is not allowed: a schedule's numbers must be at least 0.")
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - 1 - warmup_steps)
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def grad_norms(params: Tensor | Iterable[Tensor]) -> Float[Tensor, " params"]:
    """Return the 2-norm of every parameter's gradient, in order; one pass, and nothing leaves the device."""
    grads = _gradients(params)
    return torch.stack(torch._foreach_norm(grads)) if grads else torch.zeros(0)


def _gradients(params: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients of the parameters that have one; as in torch, one tensor is a parameter and not its rows.

    Raises:
        UserError: if one is sparse.
    """
    grads = [p.grad for p in ([params] if isinstance(params, Tensor) else params) if p.grad is not None]
    if any(grad.layout != torch.strided for grad in grads):
        raise UserError("a gradient is sparse, but must be dense: build the layer with sparse=False.")
    return grads


def clip_scale(norm: Float[Tensor, ""], max_norm: float) -> Float[Tensor, ""]:
    """Return the factor by which clipping multiplies a gradient of this `norm`: 1 if it is at most `max_norm`."""
    # The small constant is torch's own. There is no branch, so the CPU need not wait for a norm on the GPU.
    return (max_norm / (norm + 1e-6)).clamp(max=1.0)


def clip_grad_norm_(
    params: Tensor | Iterable[Tensor], max_norm: float, norms: Float[Tensor, " params"] | None = None
) -> Float[Tensor, ""]:
    """Scale all gradients by one factor so that their joint 2-norm is at most `max_norm` (arXiv 1211.5063).

    Args:
        params: their gradients are scaled in place.
        max_norm: largest joint norm.
        norms: the result of `grad_norms(params)`, if it is known already.

    Returns:
        The joint norm before clipping; 0 if there is no gradient.

    Raises:
        UserError: if `max_norm` is negative.
    """
    if not max_norm >= 0:
        raise UserError(f"max_norm={max_norm} is not allowed: it must be at least 0.")
    params = params if isinstance(params, Tensor) else [*params]
    norm = (grad_norms(params) if norms is None else norms).norm()
    if grads := _gradients(params):
        torch._foreach_mul_(grads, clip_scale(norm, max_norm))
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
