"""Norms of gradients, and clipping by their joint norm."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from lmablate.errors import UserError
from lmablate.training.optim.base import dense_gradients


def grad_norms(params: Tensor | Iterable[Tensor]) -> Float[Tensor, " params"]:
    """Return the 2-norm of every parameter's gradient, in order; one pass, and nothing leaves the device."""
    grads = dense_gradients(params)
    return torch.stack(torch._foreach_norm(grads)) if grads else torch.zeros(0)


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
    if grads := dense_gradients(params):
        torch._foreach_mul_(grads, clip_scale(norm, max_norm))
    return norm
