"""The two layers that hold matrices. init.py draws their first values."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Linear(nn.Module):
    """The linear map y = x Wᵀ, with W of shape [d_out, d_in] and without a bias."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Return x Wᵀ."""
        return x @ self.weight.mT


class Embedding(nn.Module):
    """A vector for each token: its row of W, of shape [vocab_size, d_model]."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))

    def forward(self, tokens: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch d_model"]:
        """Return the tokens' rows of W."""
        return torch.nn.functional.embedding(tokens, self.weight)
