"""Heads: which matrix turns the last hidden state into logits, the embedding's or another one, and a cap on logits."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.model.checks import check_sizes, positive_number
from lmablate.model.linear import new_matrix

Matrix = Float[Tensor, "vocab_size d_model"]


class UntiedHead(nn.Module):
    """A separate output matrix, trained beside the embedding's.

    Args:
        vocab_size: number of tokens in the vocabulary.
        d_model: width of the residual stream.
    """

    tied = False

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        check_sizes({"vocab_size": vocab_size, "d_model": d_model})
        self.weight = new_matrix(vocab_size, d_model)

    def matrix(self, embedding: Matrix) -> Matrix:
        """Return the output matrix: the head's own, whatever the embedding."""
        return self.weight


class TiedHead(nn.Module):
    """The embedding's matrix used as output matrix too, arXiv 1608.05859: the head has no parameters.

    Args:
        vocab_size: number of tokens in the vocabulary.
        d_model: width of the residual stream.
    """

    tied = True

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()

    def matrix(self, embedding: Matrix) -> Matrix:
        """Return the output matrix: the embedding's."""
        return embedding


class PlainLogits(nn.Module):
    """The logits as the output matrix makes them.

    Attributes:
        cap: the largest size of a logit. The loss reads it, because it never holds all logits at once.
    """

    cap = math.inf

    def forward(self, logits: Float[Tensor, "*batch vocab_size"]) -> Float[Tensor, "*batch vocab_size"]:
        """Return the logits that the model predicts with.

        Args:
            logits: products of the last hidden state and the output matrix.
        """
        return logits


class CappedLogits(PlainLogits):
    """Logits between -cap and cap: cap · tanh(logit / cap), arXiv 2408.00118, section 2.

    Args:
        cap: the largest size of a logit; Gemma 2 takes 30.

    Raises:
        UserError: if `cap` is not a positive number.
    """

    def __init__(self, *, cap: Any = 30.0) -> None:
        super().__init__()
        self.cap = positive_number("model.logits.cap", cap)

    def forward(self, logits: Float[Tensor, "*batch vocab_size"]) -> Float[Tensor, "*batch vocab_size"]:
        """Return the capped logits."""
        return self.cap * torch.tanh(logits / self.cap)
