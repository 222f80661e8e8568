"""Cross-entropy, and the form of it that never holds all logits at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmablate.precision import widened


def cross_entropy(
    logits: Float[Tensor, "*batch vocab_size"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """-log softmax(logits)[target] in nats, for each token.

    Taken as log-sum-exp minus the target's logit: the logarithm of a softmax would underflow to -inf.
    """
    logits = widened(logits)
    top = logits.amax(-1, keepdim=True)
    log_sum_exp = top.squeeze(-1) + (logits - top).exp().sum(-1).log()
    return log_sum_exp - logits.gather(-1, targets[..., None]).squeeze(-1)


class LinearCrossEntropy(torch.autograd.Function):
    """mean(cross_entropy(x Wᵀ, targets)), a chunk of tokens at a time.

    The gradient of a token's loss with respect to its logits is softmax - onehot(target): known as soon as the
    loss is. So the forward pass also computes dx and dW, chunk by chunk in one buffer, and the
    [tokens, vocab_size] matrix of logits (the largest of a small model by far) never exists.
    """

    CHUNK = 1024

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, targets: Tensor, with_grad: bool) -> Tensor:
        tokens, chunk = x.shape[0], LinearCrossEntropy.CHUNK
        dx = torch.empty_like(x) if with_grad else None
        dw = torch.zeros_like(weight) if with_grad else None
        buffer = x.new_empty(min(chunk, tokens), weight.shape[0])
        total = torch.zeros((), dtype=torch.float32 if x.dtype != torch.float64 else x.dtype, device=x.device)
        for start in range(0, tokens, chunk):
            rows, target = x[start : start + chunk], targets[start : start + chunk, None]
            logits = torch.mm(rows, weight.mT, out=buffer[: len(rows)])
            logits = logits if logits.dtype == total.dtype else logits.to(total.dtype)
            logits -= logits.amax(-1, keepdim=True)
            target_logit = logits.gather(-1, target)
            probabilities = logits.exp_()
            normaliser = probabilities.sum(-1, keepdim=True)
            total += (normaliser.log() - target_logit).sum()
            if dx is not None and dw is not None:
                probabilities /= normaliser
                probabilities.scatter_add_(-1, target, -torch.ones_like(target_logit))
                d_logits = probabilities.div_(tokens).to(x.dtype)
                torch.mm(d_logits, weight, out=dx[start : start + chunk])
                dw.addmm_(d_logits.mT, rows)
        if with_grad:
            ctx.save_for_backward(dx, dw)
        return total / tokens

    @staticmethod
    @once_differentiable
    def backward(ctx, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dx, dw = ctx.saved_tensors  # multiplied into new tensors: a second backward pass must find them whole
        return (dx * d_loss).to(dx.dtype), (dw * d_loss).to(dw.dtype), None, None


def linear_cross_entropy(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "vocab_size d_model"],
    targets: Int[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    """The mean of `cross_entropy(x @ weight.T, targets)` over all tokens, in nats."""
    x, weight = x.flatten(0, -2), weight.to(x.dtype)
    # Asked here: inside an autograd.Function gradients are always off.
    with_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return LinearCrossEntropy.apply(x, weight, targets.flatten(), with_grad)
