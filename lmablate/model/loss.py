"""Cross-entropy, and a form of it that never holds all logits at once.

Read `cross_entropy` first: it is the definition. Training calls `linear_cross_entropy`, or `linear_z_loss`, through the
class that the config's group `loss` chooses.
"""

import math
from collections.abc import Callable
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
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, with_grad: bool, cap: float) -> Tensor:
        """Return the mean loss in nats per token; if `with_grad`, keep its gradients too."""
        total, _, dx, dw = _summed(x, weight, targets, with_grad, cap)
        ctx.dtype = weight.dtype
        if with_grad:
            ctx.save_for_backward(dx, dw)
        return total / x.shape[0]

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients; ours has one output.
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x and of the weight; the other arguments have none."""
        dx, dw = ctx.saved_tensors  # must not change: a second backward pass reads them again
        return (dx * d_loss).to(dx.dtype), (dw * d_loss).to(ctx.dtype), None, None, None


class LinearZLoss(torch.autograd.Function):
    """The function mean(cross_entropy + z_weight · log²Z), computed like `LinearCrossEntropy`.

    Its gradient with respect to a token's logits is (1 + 2 · z_weight · log Z) · softmax - onehot(target).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, with_grad: bool, cap: float, z_weight: float
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of both terms, and of the first alone; if `with_grad`, keep the gradients of both."""
        total, squares, dx, dw = _summed(x, weight, targets, with_grad, cap, z_weight)
        ctx.dtype = weight.dtype
        if with_grad:
            ctx.save_for_backward(dx, dw)
        loss = total / x.shape[0]
        ctx.mark_non_differentiable(loss)
        return loss + z_weight * squares / x.shape[0], loss

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients.
    def backward(ctx: Any, d_whole: Tensor, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x and of the weight; the other arguments have none."""
        return *LinearCrossEntropy.backward(ctx, d_whole), None


def _summed(
    x: Tensor, weight: Tensor, targets: Tensor, with_grad: bool, cap: float, z_weight: float = 0.0
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the sums over tokens of cross-entropy and of log²Z, and the gradients of the mean, chunk by chunk.

    Args:
        x: [tokens, d_model].
        weight: [vocab_size, d_model].
        targets: [tokens].
        with_grad: whether gradients are computed; else None stands for them.
        cap: the largest size of a logit, as in `CappedLogits`.
        z_weight: the weight of log²Z; if it is 0, its sum is not computed and stays 0.
    """
    tokens, chunk = x.shape[0], LinearCrossEntropy.CHUNK
    dx = torch.empty_like(x) if with_grad else None
    dw = to_at_least_float32(torch.zeros_like(weight)) if with_grad else None
    total, squares = (to_at_least_float32(x.new_zeros(())) for _ in range(2))
    buffer, weight = x.new_empty(min(chunk, tokens), weight.shape[0]), weight.to(x.dtype)
    fused = have_kernels(x, weight, buffer, whole=weight.shape[0])
    for start in range(0, tokens, chunk):
        rows, target = x[start : start + chunk], targets[start : start + chunk]
        logits = torch.mm(rows, weight.mT, out=buffer[: len(rows)])
        slope = _cap_(logits, cap)
        of_target = to_at_least_float32(logits.gather(-1, target[:, None])) if z_weight else None
        if fused:
            losses, d_logits, factor, scale = cross_entropy_(logits, target, 1 / tokens), logits, 1 / tokens, None
        else:
            losses, d_logits, factor = _cross_entropy_(to_at_least_float32(logits), target)
            scale = (factor * tokens).reciprocal_().to(x.dtype)
        if of_target is not None:
            log_z = losses.reshape(-1, 1) + of_target
            squares += log_z.square().sum()
            _add_z_gradient_(d_logits, target, 2 * z_weight * log_z, factor)
        if slope is not None:
            d_logits.mul_(slope)
        d_logits = d_logits.to(x.dtype)
        total += losses.sum()
        if dx is not None and dw is not None:
            d_rows = torch.mm(d_logits, weight, out=dx[start : start + chunk])
            if scale is not None:  # the narrow [chunk, d_model] sides are scaled instead of the logits
                d_rows.mul_(scale)
                rows = rows * scale
            _add_product(dw, d_logits.mT, rows)
    return total, squares, dx, dw


def _cap_(logits: Tensor, cap: float) -> Tensor | None:
    """Replace the logits by cap · tanh(logit / cap), and return the derivative; None, for 1, without a cap."""
    if cap == math.inf:
        return None
    ratio = to_at_least_float32(logits).div(cap).tanh_()
    logits.copy_(cap * ratio)
    return 1 - ratio.square_()


def _add_z_gradient_(d_logits: Tensor, targets: Tensor, slope: Tensor, factor: Tensor | float) -> None:
    """Turn factor · (softmax - onehot) into factor · ((1 + slope) · softmax - onehot), in place.

    Args:
        d_logits: [tokens, vocab_size].
        targets: [tokens].
        slope: 2 · z_weight · log Z of each token, [tokens, 1].
        factor: of each token, [tokens, 1], or of all.
    """
    d_logits.mul_(1 + slope).scatter_add_(-1, targets[:, None], slope * factor)


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
    cap: float = math.inf,
) -> Float[Tensor, ""]:
    """Return the mean of `cross_entropy(x @ weight.T, targets)` over all tokens, in nats per token.

    With a cap the logits are cap · tanh(x @ weight.T / cap), as `CappedLogits` makes them.

    Products are computed in the precision of `x`, or in that of torch.autocast if it is enabled; sums are computed in
    at least float32.

    Raises:
        UserError: if the shapes do not fit each other, or if a target is no id of the vocabulary.
    """
    return _applied(LinearCrossEntropy.apply, x, weight, targets, cap)


def linear_z_loss(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "vocab_size d_model"],
    targets: Ids,
    z_weight: float,
    cap: float = math.inf,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the mean of `cross_entropy + z_weight · log²Z` over all tokens, and that of the cross-entropy alone.

    Z is the sum over the vocabulary of exp(logit). Only the first result has a gradient. The arguments are those of
    `linear_cross_entropy`, and the weight of log²Z.

    Raises:
        UserError: if the shapes do not fit each other, or if a target is no id of the vocabulary.
    """
    return _applied(LinearZLoss.apply, x, weight, targets, cap, z_weight)


def _applied(function: Callable[..., Any], x: Tensor, weight: Tensor, targets: Tensor, *options: float) -> Any:
    """Check the arguments of a loss, and call its autograd function on flat tokens."""
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
        return function(x, weight, targets.flatten(), with_grad, *options)
    except RuntimeError:
        check_range("targets", targets, len(weight))
        raise


class CrossEntropy:
    """The loss that is minimised: cross-entropy alone. Also the base of the others."""

    def __call__(
        self, x: Tensor, weight: Tensor, targets: Tensor, cap: float = math.inf
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the mean cross-entropy in nats per token; or, if something else is minimised, that and the mean.

        Args:
            x: last hidden states, [batch, time, d_model].
            weight: the output matrix, [vocab_size, d_model].
            targets: the tokens to predict, [batch, time].
            cap: the largest size of a logit.
        """
        return linear_cross_entropy(x, weight, targets, cap)


class ZLoss(CrossEntropy):
    """Cross-entropy and a small pull of log Z towards 0, arXiv 2204.02311, section 5: + weight · log²Z per token.

    Cross-entropy does not change if a constant is added to all logits of a token, so nothing else keeps them small. The
    losses that are logged are plain cross-entropy.

    Args:
        weight: of log²Z.

    Raises:
        UserError: if the weight is negative or not finite.
    """

    def __init__(self, weight: float = 1e-4) -> None:
        if not 0 <= weight < math.inf:
            raise UserError(f"loss.weight={weight} is not allowed: it must be at least 0 and finite.")
        self.weight = weight

    def __call__(self, x: Tensor, weight: Tensor, targets: Tensor, cap: float = math.inf) -> tuple[Tensor, Tensor]:
        """Return what is minimised, and the mean cross-entropy; as `linear_z_loss`."""
        return linear_z_loss(x, weight, targets, self.weight, cap)
