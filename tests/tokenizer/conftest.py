"""A corpus, and a tokenizer trained on it."""

from pathlib import Path

import pytest

from lmablate.tokenizer import Tokenizer, train_bpe
from tests.tokenizer.helpers import SPECIAL, standard_library


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Two megabytes of source text in one file, documents between special tokens."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_bytes(standard_library(2_000_000))
    return path


@pytest.fixture(scope="session")
def trained(corpus) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    return train_bpe(corpus, 3000, [SPECIAL])


@pytest.fixture(scope="session")
def tokenizer(trained) -> Tokenizer:
    return Tokenizer(*trained, [SPECIAL])
