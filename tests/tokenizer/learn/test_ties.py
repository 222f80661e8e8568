"""With the tie rule of Hugging Face's trainer, the merges are those of Hugging Face's trainer."""

import json
from pathlib import Path

import pytest

from lmablate.tokenizer import train_bpe
from lmablate.tokenizer.byte_alphabet import to_printable
from lmablate.tokenizer.learn.ties import SmallerIds
from tests.tokenizer.helpers import SPECIAL, standard_library


def hugging_face_merges(text: str, size: int) -> list[tuple[str, str]]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.split(SPECIAL), trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def assert_equal_to_hugging_face(text: bytes, size: int, path: Path) -> None:
    path.write_bytes(text)
    _, merges = train_bpe(path, size + 1, [SPECIAL], tie=SmallerIds())
    printable = [(to_printable(left), to_printable(right)) for left, right in merges]
    assert printable == hugging_face_merges(text.decode(), size)


def test_equals_hugging_face_under_its_tie_rule(tmp_path: Path) -> None:
    assert_equal_to_hugging_face(standard_library(300_000), 1500, tmp_path / "text.txt")


@pytest.mark.slow
def test_equals_hugging_face_under_its_tie_rule_on_much_text(tmp_path: Path) -> None:
    assert_equal_to_hugging_face(standard_library(6_000_000), 8000, tmp_path / "text.txt")
