"""A corpus, and tokenizers trained on it."""

from pathlib import Path

import pytest

from lmablate.tokenizer import Tokenizer, train_bpe
from tests.tokenizer.helpers import OVERLAPPING, SPECIAL, Trained, standard_library


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two megabytes of source text in one file, with a special token between documents."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_bytes(standard_library(2_000_000))
    return path


@pytest.fixture(scope="session")
def trained(corpus: Path) -> Trained:
    return train_bpe(corpus, 3000, [SPECIAL])


@pytest.fixture(scope="session")
def tokenizer(trained: Trained) -> Tokenizer:
    return Tokenizer(*trained, [SPECIAL])


@pytest.fixture(scope="session")
def overlapping(trained: Trained) -> Tokenizer:
    """A tokenizer whose special tokens begin, end and contain each other."""
    return Tokenizer(*trained, OVERLAPPING)
