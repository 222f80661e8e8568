"""Heads: which matrix turns the last hidden state into logits, the embedding's or another one."""

from jaxtyping import Float
from torch import Tensor, nn

from lmablate.model.checks import check_sizes
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
