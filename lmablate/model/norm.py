"""Normalisation layers. `PreNorm` and `PostNorm` (transformer.py) decide where they stand.

The layers compute the definitions, which stand at the end of the file, in fewer passes over memory.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmablate.errors import UserError
from lmablate.model.checks import check_floats, check_sizes
from lmablate.model.fast import FusedRMSNorm, have_kernels
from lmablate.model.precision import to_at_least_float32

Vectors = Float[Tensor, "*batch d_model"]
Weight = Float[Tensor, " d_model"]


class SavedReciprocal(torch.autograd.Function):
    """The function `rms_norm`, which keeps r = 1 / sqrt(mean(x²) + eps) for the backward pass.

    With y = x r and the output's gradient dy, the backward pass is dx = r (w ∘ dy - y · mean(w ∘ dy ∘ y)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return what `rms_norm` returns."""
        r = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, r, weight)
        return (x * r).mul_(weight)

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients; ours has one output.
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x and of the weight; `eps` has none."""
        x, r, weight = ctx.saved_tensors
        y = x * r
        dy_y = d_out * y
        mean = (dy_y @ weight / -x.shape[-1]).unsqueeze(-1)
        return (d_out * weight).addcmul_(y, mean).mul_(r), dy_y.reshape(-1, x.shape[-1]).sum(0), None


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, `rms_norm` with a trained weight, in at least float32.

    Args:
        d_model: width of the vectors.
        eps: keeps the divisor away from 0.

    Raises:
        UserError: if `d_model` is no size, or `eps` is negative.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        _check_norm(d_model, eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Vectors) -> Vectors:
        """Return the normalised vectors, in the precision of `x`."""
        check_floats("x", x, len(self.weight))
        if have_kernels(x, self.weight, whole=x.shape[-1]):
            return FusedRMSNorm.apply(x, self.weight, self.eps)
        wide = to_at_least_float32(x)
        return SavedReciprocal.apply(wide, self.weight.type_as(wide), self.eps).type_as(x)


class LayerNorm(nn.Module):
    """Layer normalisation, `layer_norm` with a trained weight and bias, in at least float32, by torch's kernel.

    Args:
        d_model: width of the vectors.
        eps: keeps the divisor away from 0.

    Raises:
        UserError: if `d_model` is no size, or `eps` is negative.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        _check_norm(d_model, eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Vectors) -> Vectors:
        """Return the normalised vectors, in the precision of `x`."""
        check_floats("x", x, len(self.weight))
        wide = to_at_least_float32(x)
        weight, bias = self.weight.type_as(wide), self.bias.type_as(wide)
        return F.layer_norm(wide, weight.shape, weight, bias, self.eps).type_as(x)


class DyT(nn.Module):
    """No normalisation, but a squashing of each number, weight ∘ tanh(alpha x) + bias, arXiv 2503.10622, equation 3.

    Args:
        d_model: width of the vectors.
        alpha: first value of the trained number alpha.

    Raises:
        UserError: if `d_model` is no size.
    """

    def __init__(self, d_model: int, alpha: float = 0.5) -> None:
        super().__init__()
        check_sizes({"d_model": d_model})
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Vectors) -> Vectors:
        """Return the squashed vectors, in the precision of `x`."""
        check_floats("x", x, len(self.weight))
        wide = to_at_least_float32(x)
        alpha, weight, bias = (p.type_as(wide) for p in (self.alpha, self.weight, self.bias))
        return torch.addcmul(bias, weight, torch.tanh(alpha * wide)).type_as(x)


class NoNorm(nn.Module):
    """The vectors as they are.

    Args:
        d_model: width of the vectors.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_sizes({"d_model": d_model})

    def forward(self, x: Vectors) -> Vectors:
        """Return `x`."""
        return x


def _check_norm(d_model: int, eps: float) -> None:
    check_sizes({"d_model": d_model})
    if not 0 <= eps < math.inf:
        raise UserError(f"eps={eps} is not allowed: it must be at least 0 and finite.")


NORMS: dict[str, type[nn.Module]] = {"rmsnorm": RMSNorm, "layernorm": LayerNorm, "dyt": DyT, "none": NoNorm}


def make_norm(kind: str, d_model: int) -> nn.Module:
    """Return a new norm layer.

    Args:
        kind: the config's `model.norm.kind`, a key of `NORMS`.
        d_model: width of the vectors.

    Raises:
        UserError: if there is no norm of that kind.
    """
    if kind not in NORMS:
        raise UserError(f"model.norm.kind={kind!r} is not a norm: choose one of {', '.join(NORMS)}.")
    return NORMS[kind](d_model)


# ---- Reference: the definitions, for reading and for the tests ----


def rms_norm(x: Vectors, weight: Weight, eps: float) -> Vectors:
    """Return x / sqrt(mean(x²) + eps) · weight, arXiv 1910.07467, equation 4."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def layer_norm(x: Vectors, weight: Weight, bias: Weight, eps: float) -> Vectors:
    """Return (x - mean(x)) / sqrt(var(x) + eps) · weight + bias, arXiv 1607.06450, equation 4."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps) * weight + bias
