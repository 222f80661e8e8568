"""The kernels as functions of tensors, with their gradients. Each computes what its plain form does, in one pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmablate.model.fast.library import call


class FusedAttention(torch.autograd.Function):
    """`attention` without a bias, for as many queries as keys: [batch, n_heads, time, d_head], d_head whole."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what `attention` returns, in the memory order in which the layer splits and merges heads."""
        batch, heads, time, d = q.shape
        q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
        out, log_sums = torch.empty_like(q), q.new_empty(batch, heads, time)
        ctx.numbers = batch, time, heads, d, d**-0.5
        call("attention_forward", q, k, v, out, log_sums, *ctx.numbers)
        ctx.save_for_backward(q, k, v, out, log_sums)
        return out.transpose(1, 2)

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients; each class here has one output.
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of q, k and v."""
        q, k, v, out, log_sums = ctx.saved_tensors
        d_out = d_out.transpose(1, 2).contiguous()
        dq, dk, dv = (torch.empty_like(q) for _ in range(3))
        call("attention_backward", q, k, v, out, log_sums, d_out, dq, dk, dv, *ctx.numbers)
        return dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2)


class FusedTurn(torch.autograd.Function):
    """`turn` for heads [batch, n_heads, time, d_head], d_head whole; the turns' gradient is not computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, turns: Tensor) -> Tensor:
        """Return what `turn` returns, in the memory order in which the layer splits and merges heads."""
        ctx.turns = torch.view_as_real(turns).contiguous()
        return _turn(x, ctx.turns, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of x: the output's, turned back."""
        return _turn(dy, ctx.turns, -1), None


def _turn(x: Tensor, turns: Tensor, sign: int) -> Tensor:
    x = x.transpose(1, 2).contiguous()
    y = torch.empty_like(x)
    call("turn_pairs", x, turns, y, *x.shape, sign)
    return y.transpose(1, 2)


class FusedSwiGLU(torch.autograd.Function):
    """The function silu(gate) · up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Return silu(gate) · up."""
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        y = torch.empty_like(gate)
        call("swiglu_forward", gate, up, y, gate.numel())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of both."""
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        call("swiglu_backward", gate, up, dy.contiguous(), d_gate, d_up, gate.numel())
        return d_gate, d_up


class FusedRMSNorm(torch.autograd.Function):
    """`rms_norm` of vectors whose width is whole."""

    BLOCK = 128  # rows whose weight gradients are summed one by one

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return what `rms_norm` returns, and keep 1 / sqrt(mean(x²) + eps)."""
        x, weight = x.contiguous(), weight.contiguous()
        y, r = torch.empty_like(x), x.new_empty(x.shape[:-1])
        call("rms_norm_forward", x, weight, y, r, r.numel(), x.shape[-1], eps)
        ctx.save_for_backward(x, weight, r)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x and of the weight; `eps` has none."""
        x, weight, r = ctx.saved_tensors
        dx = torch.empty_like(x)
        d_weight = x.new_empty(-(-r.numel() // FusedRMSNorm.BLOCK), x.shape[-1])
        call(
            "rms_norm_backward", x, weight, r, dy.contiguous(), dx, d_weight, r.numel(), x.shape[-1], FusedRMSNorm.BLOCK
        )
        return dx, d_weight.sum(0), None


def adamw_(
    p: Tensor, grad: Tensor, m: Tensor, v: Tensor, *, t: int, lr: float, betas: tuple[float, float], eps: float,
    weight_decay: float,
) -> None:  # fmt: skip
    """Make one step of `AdamW` for one tensor; all four are contiguous, and t is the number of the step from 1."""
    beta1, beta2 = betas
    decay, root, rate = 1 - lr * weight_decay, (1 - beta2**t) ** 0.5, lr / (1 - beta1**t)
    call("adamw_step", p, grad, m, v, p.numel(), decay, beta1, beta2, root, eps, rate)


def cross_entropy_(logits: Tensor, targets: Tensor, scale: float) -> Tensor:
    """Return the loss of each row of `logits`, which become the gradient of `scale` times the losses' sum.

    Args:
        logits: [tokens, vocab_size], contiguous, vocab_size whole; overwritten.
        targets: [tokens], ids in [0, vocab_size).
        scale: what the gradient is multiplied by.
    """
    low, high = targets.aminmax()
    if low < 0 or high >= logits.shape[1]:
        raise IndexError(f"a target is not in [0, {logits.shape[1]})")
    losses, targets = logits.new_empty(len(logits)), targets.long().contiguous()
    call("cross_entropy_rows", logits, targets, losses, *logits.shape, scale)
    return losses
