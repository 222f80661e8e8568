"""Feed-forward layers. The activation is the variant; a gated one has a third matrix.

`relu`, `relu2`, `gelu` and `silu` are the definitions; the layers call torch's kernels for the same functions,
which read and write memory once where the definitions do so several times.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.model.linear import Linear

Stream = Float[Tensor, "*batch d_model"]
Hidden = Float[Tensor, "*batch d_ff"]


def relu(x: Hidden) -> Hidden:
    """max(x, 0)"""
    return x.clamp_min(0)


def relu2(x: Hidden) -> Hidden:
    """max(x, 0)², arXiv 2109.08668"""
    return relu(x).square()


def gelu(x: Hidden) -> Hidden:
    """x Φ(x), with Φ the normal distribution function, arXiv 1606.08415; exact, not the tanh approximation"""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def silu(x: Hidden) -> Hidden:
    """x σ(x), arXiv 1606.08415, 1710.05941"""
    return x * torch.sigmoid(x)


class MLP(nn.Module):
    """down(activation(up(x))), arXiv 1706.03762, equation 2, without biases. Two matrices of d_model x d_ff."""

    matrices = 2
    activation: Callable[[Hidden], Hidden]

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)

    def hidden(self, x: Stream) -> Hidden:
        """The units' activations, which `down` reads."""
        return self.activation(self.up(x))

    def forward(self, x: Stream) -> Stream:
        return self.down(self.hidden(x))


class GatedMLP(MLP):
    """down(activation(gate(x)) · up(x)), arXiv 2002.05202, equation 6. Three matrices of d_model x d_ff."""

    matrices = 3

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__(d_model, d_ff)
        self.gate = Linear(d_model, d_ff)

    def hidden(self, x: Stream) -> Hidden:
        return self.activation(self.gate(x)) * self.up(x)


class ReLU(MLP):
    activation = staticmethod(F.relu)


class ReLU2(MLP):
    @staticmethod
    def activation(x: Hidden) -> Hidden:
        return F.relu(x).square()


class GELU(MLP):
    activation = staticmethod(F.gelu)


class SiLU(MLP):
    activation = staticmethod(F.silu)


class SwiGLU(GatedMLP):
    activation = staticmethod(F.silu)


class GeGLU(GatedMLP):
    activation = staticmethod(F.gelu)
