"""Other programs' files: written so that those programs give the same ids, and read or refused."""

import json
from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.byte_alphabet import to_printable
from lmablate.tokenizer.interchange import load_gpt2, save_hugging_face
from tests.tokenizer.helpers import BYTES, SPECIAL, standard_library


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


def test_gpt2_files_are_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    specials = set(tokenizer.special_tokens)
    vocab = {
        token.decode() if token.decode(errors="replace") in specials else to_printable(token): token_id
        for token_id, token in tokenizer.vocab.items()
    }
    lines = [
        "#version: 0.2",
        *(f"{to_printable(left)} {to_printable(right)}" for left, right in tokenizer.merges),
    ]
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n")
    loaded = load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt", [SPECIAL])
    assert loaded.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [("[]", "", "must be an object"), ('{"a": "b"}', "", "must be an object"), ('{"中": 0}', "", "no byte")],
)
def test_damaged_gpt2_files_are_refused(tmp_path: Path, vocab: str, merges: str, message: str) -> None:
    (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(UserError, match=message):
        load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_a_merge_of_three_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({to_printable(token): i for i, token in BYTES.items()}))
    (tmp_path / "merges.txt").write_text("a b c\n")
    with pytest.raises(UserError, match="must hold two tokens"):
        load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
