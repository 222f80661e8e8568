"""Feed-forward layers. The activation is the variant; a gated one has a third matrix.

The layers call torch's kernels for the activations, which read and write memory once. The definitions, which do so
several times, stand at the end of the file.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.model.fast import FusedSwiGLU, have_kernels
from lmablate.model.linear import Linear

Vectors = Float[Tensor, "*batch d_model"]
Hidden = Float[Tensor, "*batch d_ff"]


def _no_activation(x: Hidden) -> Hidden:
    raise NotImplementedError("a subclass of MLP must define activation")


class MLP(nn.Module):
    """The feed-forward layer down(activation(up(x))), arXiv 1706.03762, equation 2, without biases.

    A subclass defines `activation`.

    Args:
        d_model: width of the residual stream.
        d_ff: number of units.

    Attributes:
        matrices: number of matrices of d_model x d_ff.
        activation: the function that is applied to each unit.
    """

    matrices = 2
    activation: Callable[[Hidden], Hidden] = staticmethod(_no_activation)

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)

    def hidden(self, x: Vectors) -> Hidden:
        """Return the units' activations, which `down` reads."""
        return self.activation(self.up(x))

    def forward(self, x: Vectors) -> Vectors:
        """Return down(hidden(x))."""
        return self.down(self.hidden(x))


class GatedMLP(MLP):
    """The gated feed-forward layer down(activation(gate(x)) · up(x)), arXiv 2002.05202, equation 6."""

    matrices = 3

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__(d_model, d_ff)
        self.gate = Linear(d_model, d_ff)

    def hidden(self, x: Vectors) -> Hidden:
        """Return activation(gate(x)) · up(x)."""
        gate, up = self.gate(x), self.up(x)
        if self.activation is F.silu and have_kernels(gate, up, whole=gate.numel()):
            return FusedSwiGLU.apply(gate, up)
        return self.activation(gate) * up


class ReLU(MLP):
    """An MLP with the activation `relu`."""

    activation = staticmethod(F.relu)


class ReLU2(MLP):
    """An MLP with the activation `relu2`."""

    @staticmethod
    def activation(x: Hidden) -> Hidden:
        """Return max(x, 0)²."""
        return F.relu(x).square()


class GELU(MLP):
    """An MLP with the activation `gelu`."""

    activation = staticmethod(F.gelu)


class SiLU(MLP):
    """An MLP with the activation `silu`."""

    activation = staticmethod(F.silu)


class SwiGLU(GatedMLP):
    """A gated MLP with the activation `silu`."""

    activation = staticmethod(F.silu)


class GeGLU(GatedMLP):
    """A gated MLP with the activation `gelu`."""

    activation = staticmethod(F.gelu)


# ---- Reference: the definitions, for reading and for the tests ----


def relu(x: Hidden) -> Hidden:
    """Return max(x, 0)."""
    return x.clamp_min(0)


def relu2(x: Hidden) -> Hidden:
    """Return max(x, 0)², arXiv 2109.08668."""
    return relu(x).square()


def gelu(x: Hidden) -> Hidden:
    """Return x Φ(x), with Φ the normal distribution function, arXiv 1606.08415; exact, not the tanh approximation."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def silu(x: Hidden) -> Hidden:
    """Return x σ(x), with σ the logistic function, arXiv 1606.08415, 1710.05941."""
    return x * torch.sigmoid(x)
