"""The loss of a trained model over a whole text, each token a target once."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from lmablate.data.tokens import windows
from lmablate.model import Transformer, cross_entropy


@dataclass(frozen=True)
class Score:
    """A model's loss over a whole text.

    Attributes:
        tokens: targets, each counted once.
        nats: mean cross-entropy per token.
        bits_per_byte: the same per byte of text, comparable between tokenizers.
        by_position: mean nats per token, [context_length]; entry t is of the tokens predicted from t + 1 others.
    """

    tokens: int
    nats: float
    bits_per_byte: float
    by_position: np.ndarray

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats)


@torch.no_grad()
def score(model: Transformer, tokens: np.ndarray, token_bytes: np.ndarray, batch_size: int = 16) -> Score:
    """The loss over `tokens` in windows of the model's context, each token but the first a target exactly once.

    Args:
        tokens: ids, [n_tokens]. token_bytes: bytes of text behind each id, [vocab_size].

    Raises UserError for fewer than context_length + 1 tokens.
    """
    device = next(model.parameters()).device
    nats, counts = np.zeros(model.context_length), np.zeros(model.context_length, np.int64)
    size = 0
    for inputs, targets in windows(tokens, model.context_length, batch_size):
        losses = cross_entropy(model(inputs.to(device)), targets.to(device))
        time = targets.shape[1]
        nats[:time] += losses.double().sum(0).cpu().numpy()
        counts[:time] += len(targets)
        size += int(token_bytes[targets.numpy()].sum())
    count = int(counts.sum())
    return Score(count, nats.sum() / count, nats.sum() / size / math.log(2), nats / np.maximum(counts, 1))
