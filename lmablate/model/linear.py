"""The two layers that hold matrices. A model's `Init` (init.py) draws their first values."""

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
    """The linear map y = x Wᵀ, with W of shape [d_out, d_in] and without a bias."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        check_sizes({"d_in": d_in, "d_out": d_out})
        self.weight = new_matrix(d_out, d_in)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Return x Wᵀ."""
        check_floats("x", x, self.weight.shape[1])
        check_one_type("x and the weights", x, self.weight)
        return x @ self.weight.mT


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
