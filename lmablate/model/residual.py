"""How the output of a branch joins the residual stream: as it is, scaled by trained numbers, or beside the embedding.

A block has one of these for each of its branches: x = x + residual(branch(x), early).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lmablate.model.checks import check_sizes, positive_number
from lmablate.model.pos import KVHeads, Stream


@dataclass
class Early:
    """What the first layer leaves to the later ones, in one forward pass.

    Attributes:
        x: the embedded tokens, from which the first block starts.
        v: the values of the first layer; None until it has computed them.
    """

    x: Stream
    v: KVHeads | None = None


class Plain(nn.Module):
    """The output as it is, arXiv 1512.03385, equation 1.

    Args:
        d_model: width of the residual stream.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_sizes({"model.d_model": d_model})

    def forward(self, y: Stream, early: Early) -> Stream:
        """Return what is added to the stream.

        Args:
            y: output of the branch.
            early: what the first layer left.
        """
        return y


class LayerScale(Plain):
    """Each dimension of the output times a trained number that starts small, arXiv 2103.17239, equation 4.

    Args:
        d_model: width of the residual stream.
        start: the numbers' first value; the paper takes 0.1 up to 18 layers.

    Raises:
        UserError: if `start` is not a positive number.
    """

    def __init__(self, d_model: int, *, start: Any = 0.1) -> None:
        super().__init__(d_model)
        self.weight = nn.Parameter(torch.full((d_model,), positive_number("model.residual.start", start)))

    def forward(self, y: Stream, early: Early) -> Stream:
        """Return weight ∘ y."""
        return self.weight.type_as(y) * y


class ReZero(Plain):
    """The output times one trained number that starts at zero, arXiv 2003.04887, equation 5.

    At first every block is the identity.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, y: Stream, early: Early) -> Stream:
        """Return alpha · y."""
        return self.alpha.type_as(y) * y


class EmbeddingSkip(Plain):
    """The output and, times a trained number that starts at zero, the embedded token.

    So a late layer can read the token itself. Speed records of small models mix it in (modded-nanogpt, "x0 lambdas").
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, y: Stream, early: Early) -> Stream:
        """Return y + alpha · the embedded token."""
        return y + self.alpha.type_as(y) * early.x
