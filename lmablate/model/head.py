"""The output matrix, which turns the last hidden state into logits: the embedding's own, or another one."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Matrix = Float[Tensor, "vocab_size d_model"]


class UntiedHead(nn.Module):
    """A matrix [vocab_size, d_model] of its own."""

    tied = False

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))

    def matrix(self, embedding: Matrix) -> Matrix:
        """Return the output matrix of a model with this embedding matrix."""
        return self.weight


class TiedHead(nn.Module):
    """The embedding's matrix, used a second time, arXiv 1608.05859. It has no parameters."""

    tied = True

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()

    def matrix(self, embedding: Matrix) -> Matrix:
        """Return the output matrix of a model with this embedding matrix."""
        return embedding
