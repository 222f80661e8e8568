"""The output matrix that turns the last hidden state into logits: the embedding's own, or another."""

import torch
from torch import Tensor, nn

from lmablate.model.linear import Embedding


class UntiedHead(nn.Module):
    """A matrix [vocab_size, d_model] of its own."""

    tied = False

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty_like(embedding.weight))


class TiedHead(nn.Module):
    """The embedding's matrix, used a second time, arXiv 1608.05859."""

    tied = True

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self._embedding = (embedding,)  # in a tuple, so that the matrix is counted and saved once

    @property
    def weight(self) -> Tensor:
        return self._embedding[0].weight
