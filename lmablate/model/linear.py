"""The two layers that hold matrices, and which of them have a bias. A model's `Init` (init.py) draws the matrices."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt
from torch import Tensor, nn

from lmablate.model.checks import check_floats, check_ids, check_one_type, check_range, check_sizes


def new_matrix(rows: int, columns: int) -> nn.Parameter:
    """Return a matrix for a layer that stands alone: N(0, 1/columns), drawn like torch's own layers.

    In a model `Init` draws it anew. On the meta device there is nothing to draw.
    """
    matrix = torch.empty(rows, columns)
    return nn.Parameter(matrix if matrix.is_meta else matrix.normal_(0.0, columns**-0.5))


class Linear(nn.Module):
    """The linear map y = x Wᵀ, with W of shape [d_out, d_in].

    Attributes:
        bias: a vector [d_out] that is added, or None. A layer is made without one; a model's `NoBias` may give it one.
    """

    bias: nn.Parameter | None

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        check_sizes({"d_in": d_in, "d_out": d_out})
        self.weight = new_matrix(d_out, d_in)
        self.register_parameter("bias", None)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Return x Wᵀ, plus the bias if there is one."""
        check_floats("x", x, self.weight.shape[1])
        check_one_type("x and the weights", x, self.weight)
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias.type_as(y)


def block_matrices(model: nn.Module) -> list[Tensor]:
    """Return the matrices of the linear layers in a model's blocks, which are in a module called `blocks`."""
    inside = [part for name, part in model.named_modules() if "blocks" in name.split(".")]
    return [part.weight for part in inside if isinstance(part, (Linear, nn.Linear))]


class Embedding(nn.Module):
    """A vector for each token: its row of W, of shape [vocab_size, d_model]."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        check_sizes({"vocab_size": vocab_size, "d_model": d_model})
        self.weight = new_matrix(vocab_size, d_model)

    def forward(self, tokens: Int[Tensor, "*batch"] | UInt[Tensor, "*batch"]) -> Float[Tensor, "*batch d_model"]:
        """Return the tokens' rows of W.

        Raises:
            UserError: if a token is no id of the vocabulary. On a GPU torch ends the process instead.
        """
        check_ids("tokens", tokens)
        tokens = tokens.long()
        try:
            return F.embedding(tokens, self.weight)
        except IndexError:
            check_range("tokens", tokens, len(self.weight))
            raise


class NoBias:
    """No linear layer has a bias, as in PaLM (arXiv 2204.02311, section 2). Also the base of the other choices."""

    def layers(self, block: nn.Module) -> Iterable[Linear]:
        """Return the layers of a block that get a bias."""
        return ()

    def add(self, block: nn.Module) -> None:
        """Give the layers of a block their biases, which start at zero."""
        for layer in self.layers(block):
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))


class QKVBias(NoBias):
    """Queries, keys and values have biases, as in Qwen (arXiv 2309.16609, section 2.3)."""

    def layers(self, block: nn.Module) -> Iterable[Linear]:
        """Return the three layers."""
        attn: Any = block.attn
        return attn.q, attn.k, attn.v


class AllBiases(NoBias):
    """Every linear layer of the blocks has a bias, as in the first Transformer and in GPT-2."""

    def layers(self, block: nn.Module) -> Iterable[Linear]:
        """Return all linear layers."""
        return [layer for layer in block.modules() if isinstance(layer, Linear)]
