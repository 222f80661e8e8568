"""A score is the loss of every token once, on a model too small to be good."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmablate.inference.score import score
from tests.model.helpers import CONTEXT, VOCAB, random_tokens, small_model


def test_a_score_counts_every_token_once():
    model, text = small_model(), random_tokens(5 * CONTEXT + 4).numpy().astype(np.uint16)
    lengths = np.arange(VOCAB) % 4 + 1
    result = score(model, text, lengths, batch_size=2)
    losses, positions = [], [[] for _ in range(CONTEXT)]
    with torch.no_grad():
        for start in range(0, len(text) - 1, CONTEXT):
            row = torch.from_numpy(text[start : start + CONTEXT + 1].astype(np.int64))
            loss = F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="none")
            losses += loss.tolist()
            for t, value in enumerate(loss.tolist()):
                positions[t].append(value)
    assert result.tokens == len(text) - 1
    assert result.nats == pytest.approx(np.mean(losses))
    assert result.perplexity == pytest.approx(math.exp(np.mean(losses)))
    assert result.bits_per_byte == pytest.approx(sum(losses) / lengths[text[1:]].sum() / math.log(2))
    np.testing.assert_allclose(result.by_position, [np.mean(p) for p in positions], rtol=1e-5)
