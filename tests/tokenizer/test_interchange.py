"""Another program's file: written so that this program gives the same ids."""

from pathlib import Path

import pytest

from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.interchange import save_hugging_face
from tests.tokenizer.helpers import standard_library


def assert_hugging_face_agrees(tokenizer: Tokenizer, text: str, folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    save_hugging_face(tokenizer, folder / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    ids = theirs.encode(text, add_special_tokens=False).ids
    assert ids == tokenizer.encode(text)
    assert theirs.decode(ids, skip_special_tokens=False) == text


def test_hugging_face_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert_hugging_face_agrees(tokenizer, standard_library(300_000).decode(), tmp_path)


@pytest.mark.slow
def test_hugging_face_gives_the_same_ids_on_much_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert_hugging_face_agrees(tokenizer, standard_library(6_000_000).decode(), tmp_path)
