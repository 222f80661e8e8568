"""What train_bpe promises about ids, special tokens and arguments; learn/ tests the merges themselves."""

from pathlib import Path
from typing import Any

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import train_bpe
from tests.tokenizer.helpers import SPECIAL, Trained


def test_ids_are_bytes_then_merges_then_special_tokens(trained: Trained) -> None:
    vocab, merges = trained
    assert [vocab[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    made = list(dict.fromkeys(left + right for left, right in merges))
    assert [vocab[i] for i in range(256, 256 + len(made))] == made
    assert vocab[len(vocab) - 1] == SPECIAL.encode()
    assert len(vocab) == 3000


def test_nothing_is_learnt_from_special_tokens_or_across_them(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(f"ab{SPECIAL}cd" * 50)
    _, merges = train_bpe(path, 300, [SPECIAL])
    assert {left + right for left, right in merges} == {b"ab", b"cd", b"cdab"}


def test_a_corpus_that_cannot_yield_the_vocabulary_gives_a_smaller_one_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abc")
    vocab, merges = train_bpe(path, 1000, [SPECIAL])
    assert (len(vocab), len(merges)) == (259, 2)
    assert "259 tokens instead of 1000" in caplog.text


@pytest.mark.parametrize("size", [256, 65_537, 0, -5, "300", 300.0, True, None])
def test_a_bad_vocabulary_size_is_refused(size: Any, corpus: Path) -> None:
    with pytest.raises(UserError, match="vocab_size must be a whole number from 257 to 65536"):
        train_bpe(corpus, size, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"special_tokens": "<s>"}, "must be a list of strings"),
        ({"special_tokens": [""]}, "not empty"),
        ({"special_tokens": ["a", "a"]}, "must differ"),
        ({"special_tokens": [f"<{i}>" for i in range(50)]}, "vocab_size must hold"),
        ({"method": "quick"}, r"method must be one of \['fast', 'naive'\]"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_a_bad_argument_is_refused_by_name(arguments: dict[str, Any], message: str, corpus: Path) -> None:
    with pytest.raises(UserError, match=message):
        train_bpe(corpus, 300, arguments.pop("special_tokens", []), **arguments)


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read"):
        train_bpe(tmp_path / "nowhere.txt", 300, [])
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=r"empty\.txt is empty"):
        train_bpe(tmp_path / "empty.txt", 300, [])
