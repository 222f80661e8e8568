"""Cross-entropy, and a form of it that never holds all logits at once.

Read `cross_entropy` first: it is the definition. Training calls `linear_cross_entropy`.
"""

from typing import Any

import torch
from jaxtyping import Float, Int, UInt
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmablate.errors import UserError
from lmablate.model.checks import check_floats, check_ids, check_range, check_sizes
from lmablate.model.fast import cross_entropy_, have_kernels
from lmablate.model.precision import to_at_least_float32

Ids = Int[Tensor, "*batch"] | UInt[Tensor, "*batch"]


def cross_entropy(logits: Float[Tensor, "*batch vocab_size"], targets: Ids) -> Float[Tensor, "*batch"]:
    """Return -log softmax(logits)[target] of each token, in nats.

    It is computed as log-sum-exp minus the target's logit: a softmax can underflow to 0, whose logarithm is -inf.

    Raises:
        UserError: if the shapes do not fit each other, or if a target is no id of the vocabulary.
    """
    check_floats("logits", logits, "vocab_size")
    targets = _checked_targets(logits, targets, logits.shape[-1])
    logits = to_at_least_float32(logits)
    top = logits.amax(-1, keepdim=True)
    log_sum_exp = top.squeeze(-1) + (logits - top).exp().sum(-1).log()
    try:
        return log_sum_exp - logits.gather(-1, targets[..., None]).squeeze(-1)
    except RuntimeError:
        check_range("targets", targets, logits.shape[-1])
        raise


def _checked_targets(x: Tensor, targets: Tensor, vocab_size: int) -> Tensor:
    """Return the targets as int64, if there is one for each vector of `x`."""
    check_ids("targets", targets)
    check_sizes({"vocab_size": vocab_size})
    if targets.shape != x.shape[:-1]:
        raise UserError(
            f"targets must have the shape {list(x.shape[:-1])}, one for each vector, but have {list(targets.shape)}."
        )
    return targets.long()


class LinearCrossEntropy(torch.autograd.Function):
    """The function mean(cross_entropy(x Wᵀ, targets)), a chunk of tokens at a time.

    The gradient of a token's loss with respect to its logits is softmax - onehot(target), which is known as soon as
    the loss is. So the forward pass also computes dx and dW, chunk by chunk in one buffer, and the
    [tokens, vocab_size] matrix of logits (by far the largest tensor of a small model) never exists.
    """

    CHUNK = 1024  # tokens per chunk

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, with_grad: bool) -> Tensor:
        """Return the mean loss in nats per token; if `with_grad`, keep its gradients too."""
        tokens, chunk, ctx.dtype = x.shape[0], LinearCrossEntropy.CHUNK, weight.dtype
        dx = torch.empty_like(x) if with_grad else None
        dw = to_at_least_float32(torch.zeros_like(weight)) if with_grad else None
        total = to_at_least_float32(x.new_zeros(()))
        buffer, weight = x.new_empty(min(chunk, tokens), weight.shape[0]), weight.to(x.dtype)
        fused = have_kernels(x, weight, buffer, whole=weight.shape[0])
        for start in range(0, tokens, chunk):
            rows, target = x[start : start + chunk], targets[start : start + chunk]
            logits = torch.mm(rows, weight.mT, out=buffer[: len(rows)])
            if fused:
                losses, d_logits, scale = cross_entropy_(logits, target, 1 / tokens), logits, None
            else:
                losses, d_logits, normaliser = _cross_entropy_(to_at_least_float32(logits), target)
                d_logits, scale = d_logits.to(x.dtype), (normaliser * tokens).reciprocal_().to(x.dtype)
            total += losses.sum()
            if dx is not None and dw is not None:
                d_rows = torch.mm(d_logits, weight, out=dx[start : start + chunk])
                if scale is not None:  # the narrow [chunk, d_model] sides are scaled instead of the logits
                    d_rows.mul_(scale)
                    rows = rows * scale
                _add_product(dw, d_logits.mT, rows)
        if with_grad:
            ctx.save_for_backward(dx, dw)
        return total / tokens

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients; ours has one output.
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x and of the weight; the other arguments have none."""
        dx, dw = ctx.saved_tensors  # must not change: a second backward pass reads them again
        return (dx * d_loss).to(dx.dtype), (dw * d_loss).to(ctx.dtype), None, None


def _cross_entropy_(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each token's loss, (softmax - onehot) · normaliser in place of the logits, and the normaliser."""
    targets = targets[:, None]
    logits -= logits.amax(-1, keepdim=True)
    target_logit = logits.gather(-1, targets)
    exponentials = logits.exp_()
    normaliser = exponentials.sum(-1, keepdim=True)
    losses = normaliser.log() - target_logit
    return losses, exponentials.scatter_add_(-1, targets, -normaliser), normaliser


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b to `total` in place, by one kernel if all three have the same precision."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


def linear_cross_entropy(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "vocab_size d_model"],
    targets: Ids,
) -> Float[Tensor, ""]:
    """Return the mean of `cross_entropy(x @ weight.T, targets)` over all tokens, in nats per token.

    Products are computed in the precision of `x`, or in that of torch.autocast if it is enabled; sums are computed in
    at least float32.

    Raises:
        UserError: if the shapes do not fit each other, or if a target is no id of the vocabulary.
    """
    check_floats("weight", weight, "vocab_size", "d_model")
    if weight.dim() != 2:
        raise UserError(f"weight must be one matrix, but has {weight.dim()} dimensions.")
    check_floats("x", x, weight.shape[-1])
    targets = _checked_targets(x, targets, len(weight))
    x, device = x.reshape(-1, x.shape[-1]), x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    # Decided here: inside an autograd.Function gradients are always off.
    with_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    try:
        return LinearCrossEntropy.apply(x, weight, targets.flatten(), with_grad)
    except RuntimeError:
        check_range("targets", targets, len(weight))
        raise
