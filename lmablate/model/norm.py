"""Normalisation layers. Each is one equation; `PreNorm` and `PostNorm` (transformer.py) say where it goes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.precision import widened


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, arXiv 1910.07467, equation 4.

        y = x / sqrt(mean(x²) + eps) · weight
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        y = widened(x)
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return y.type_as(x) * self.weight


class LayerNorm(nn.Module):
    """Layer normalisation, arXiv 1607.06450, equation 4.

        y = (x - mean(x)) / sqrt(var(x) + eps) · weight + bias
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        y = widened(x)
        y = y - y.mean(-1, keepdim=True)
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return y.type_as(x) * self.weight + self.bias


NORMS: dict[str, type[nn.Module]] = {"rmsnorm": RMSNorm, "layernorm": LayerNorm}


def make_norm(kind: str, d_model: int) -> nn.Module:
    """A new norm layer of the `kind` that `model.norm.kind` names."""
    if kind not in NORMS:
        raise UserError(f"model.norm.kind={kind!r} is not a norm: choose one of {', '.join(NORMS)}.")
    return NORMS[kind](d_model)
