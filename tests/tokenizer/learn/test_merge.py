"""Fast training gives exactly the merges of the naive reference."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from lmablate.tokenizer import train_bpe
from lmablate.tokenizer.learn.ties import GreaterBytes, SmallerIds
from tests.tokenizer.helpers import SPECIAL, standard_library

ALPHABETS = ["ab", "a ", "abc \n", "a=", "xyz é中\u3000", "=-", "'st "]


def adversarial_corpus(seed: int) -> str:
    """Few characters and many repetitions: ties, runs, and tokens that two merges make."""
    source = random.Random(seed)
    if seed % 4 == 0:
        return " ".join(source.choice("a=") * source.randrange(1, 40) for _ in range(8))
    return "".join(source.choices(source.choice(ALPHABETS), k=source.randrange(1, 200)))


def assert_fast_equals_naive(seeds: Iterable[int], folder: Path) -> None:
    path = folder / "text.txt"
    for seed in seeds:
        path.write_bytes(adversarial_corpus(seed).encode())
        size = random.Random(seed).choice([257, 260, 280, 340])
        specials = ["ba", "bab"] if seed % 3 == 0 and size > 257 else []
        for tie in (GreaterBytes(), SmallerIds()):
            fast = train_bpe(path, size, specials, tie=tie)
            assert fast == train_bpe(path, size, specials, tie=tie, method="naive"), seed


def test_fast_equals_naive_on_adversarial_corpora(tmp_path: Path) -> None:
    assert_fast_equals_naive(range(150), tmp_path)


@pytest.mark.slow
def test_fast_equals_naive_on_a_thousand_adversarial_corpora(tmp_path: Path) -> None:
    assert_fast_equals_naive(range(150, 1150), tmp_path)


def test_fast_equals_naive_on_real_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(standard_library(60_000))
    assert train_bpe(path, 700, [SPECIAL]) == train_bpe(path, 700, [SPECIAL], method="naive")


def test_runs_of_one_character_give_every_token_once(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(" ".join("a" * n for n in range(1, 60)))
    vocab, merges = train_bpe(path, 400, [])
    assert len(set(vocab.values())) == len(vocab)
    assert {left + right for left, right in merges} == {vocab[i] for i in range(256, len(vocab))}
