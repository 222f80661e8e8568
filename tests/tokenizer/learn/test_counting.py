"""Counting words: the same on any number of threads, and words of any length."""

from pathlib import Path

import pytest

from lmablate.tokenizer import train_bpe
from tests.tokenizer.helpers import SPECIAL, Trained


@pytest.mark.parametrize("threads", [2, 7])
def test_any_number_of_threads_gives_the_same_merges(threads: int, corpus: Path, trained: Trained) -> None:
    assert train_bpe(corpus, 3000, [SPECIAL], threads=threads) == trained


def test_words_longer_than_sixteen_bits_can_count_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ab" * 40_000 + " " + "x" * 100_000 + " abab")
    vocab, merges = train_bpe(path, 262, [])
    assert (vocab, merges) == train_bpe(path, 262, [], method="naive")
    assert merges[:3] == [(b"x", b"x"), (b"xx", b"xx"), (b"a", b"b")]
