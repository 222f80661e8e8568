"""A score is the loss of every token once, on a model too small to be good."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmablate.errors import UserError
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


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": lambda ids: ids.tolist(),
    "tensors": lambda ids: torch.from_numpy(ids.astype(np.int32)),
    "arrays of 8 bits": lambda ids: ids.astype(np.uint8),
    "arrays of int64": lambda ids: ids.astype(np.int64),
    "tuples": lambda ids: tuple(ids.tolist()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_tokens_and_their_bytes_may_come_in_any_form(form):
    text, lengths = random_tokens(30).numpy().astype(np.uint16), np.arange(VOCAB) % 4 + 1
    expected = score(small_model(), text, lengths)
    got = score(small_model(), form(text), form(lengths))
    assert (got.tokens, got.nats, got.bits_per_byte) == (expected.tokens, expected.nats, expected.bits_per_byte)


TEXT, LENGTHS = random_tokens(30), np.ones(VOCAB, np.int64)
REFUSED: dict[str, tuple[Any, Any, Any, str]] = {
    "too short": (TEXT[:5], LENGTHS, 16, "has 5 tokens"),
    "floats": (TEXT.float(), LENGTHS, 16, "tokens must be whole numbers"),
    "rows": (TEXT.view(3, 10), LENGTHS, 16, r"in the shape \[3, 10\]"),
    "too few lengths": (TEXT, LENGTHS[:4], 16, r"token_bytes must have an entry for id \d+, but has 4"),
    "lengths that are floats": (TEXT, LENGTHS / 2, 16, "token_bytes must be whole numbers"),
    "a dict of lengths": (TEXT, {0: 1}, 16, "token_bytes must be whole numbers"),
    "an id outside the vocabulary": (TEXT + 50, np.ones(200, np.int64), 16, "tokens must be from 0 to 60"),
    "no rows": (TEXT, LENGTHS, 0, "batch_size=0"),
    "half a row": (TEXT, LENGTHS, 1.5, "batch_size=1.5"),
}


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize(("tokens", "lengths", "batch_size", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_scored_is_refused_in_one_sentence(tokens, lengths, batch_size, message):
    with pytest.raises(UserError, match=message):
        score(small_model(), tokens, lengths, batch_size)
