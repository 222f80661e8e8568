"""The loss of a trained model over a whole text, in which each token is a target once."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from lmablate.data.tokens import Tokens, as_ids, windows
from lmablate.errors import UserError
from lmablate.model import Transformer, cross_entropy


@dataclass(frozen=True)
class Score:
    """A model's loss over a whole text.

    Attributes:
        tokens: number of targets.
        nats: mean cross-entropy, in nats per token.
        bits_per_byte: the same in bits per byte of text, comparable between tokenizers.
        by_position: mean nats per token, [context_length]; entry t is the mean over targets predicted from t + 1
            tokens.
    """

    tokens: int
    nats: float
    bits_per_byte: float
    by_position: np.ndarray

    @property
    def perplexity(self) -> float:
        """The exponential of the nats per token."""
        return math.exp(self.nats)


@torch.no_grad()
def score(model: Transformer, tokens: Tokens, token_bytes: Tokens, batch_size: int = 16) -> Score:
    """Return the loss over `tokens` in windows of the model's context; every token but the first is a target once.

    Args:
        model: the model, in evaluation mode.
        tokens: ids, [n_tokens].
        token_bytes: number of bytes of text behind each id, [vocab_size].
        batch_size: windows per forward pass.

    Raises:
        UserError: if there are fewer than context_length + 1 tokens, or more ids than `token_bytes`.
    """
    byte_counts = as_ids(token_bytes, "token_bytes")
    device = next(model.parameters()).device
    nats, counts = np.zeros(model.context_length), np.zeros(model.context_length, np.int64)
    size = 0
    for inputs, targets in windows(tokens, model.context_length, batch_size):
        losses = cross_entropy(model(inputs.to(device)), targets.to(device))
        time = targets.shape[1]
        nats[:time] += losses.double().sum(0).cpu().numpy()
        counts[:time] += len(targets)
        if (highest := int(targets.max())) >= len(byte_counts):
            raise UserError(f"token_bytes must have an entry for id {highest}, but has {len(byte_counts)}.")
        size += int(byte_counts[targets.numpy()].sum())
    count = int(counts.sum())
    return Score(count, nats.sum() / count, nats.sum() / size / math.log(2), nats / np.maximum(counts, 1))
