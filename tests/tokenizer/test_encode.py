"""Encoding: equal to the naive reference and to tiktoken, lossless, the same however the text is cut."""

import random
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.tokenizer import Tokenizer, encode
from lmablate.tokenizer.naive import NaiveEncoder
from lmablate.tokenizer.split.pattern import PATTERN
from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.text_encoder import TextEncoder
from tests.tokenizer.helpers import SPECIAL, TEXTS, UNTIMED, standard_library


def naive_encoder(tokenizer: Tokenizer) -> NaiveEncoder:
    ids = {token: i for i, token in tokenizer.vocab.items()}
    return NaiveEncoder(ids, tokenizer.merges, [special.encode() for special in tokenizer.special_tokens])


@given(TEXTS)
@UNTIMED
def test_equals_the_naive_reference(overlapping: Tokenizer, text: str) -> None:
    assert overlapping.encode(text) == naive_encoder(overlapping).encode(text.encode())


def test_a_cache_that_fills_grows_and_keeps_its_words(overlapping: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_FIRST_CAPACITY", 16)
    encoder = TextEncoder(overlapping._ids, overlapping.merges, SpecialTokens(overlapping.special_tokens))
    text = "".join(f" word{i} {'long' * (i % 9)}{SPECIAL}" for i in range(300)).encode()
    stream = encoder.encode_stream(BytesIO(text * 2), chunk_bytes=500)
    assert np.concatenate([*stream]).tolist() == naive_encoder(overlapping).encode(text * 2)
    assert len(encoder._idle_caches[0].entries) // encode.FIELDS == 1024


@given(TEXTS)
@UNTIMED
def test_decoding_gives_the_text_back(overlapping: Tokenizer, text: str) -> None:
    assert overlapping.decode(overlapping.encode(text)) == text


@given(st.binary(max_size=300))
@UNTIMED
def test_bytes_that_are_not_text_come_back_and_equal_the_reference(overlapping: Tokenizer, text: bytes) -> None:
    ids = overlapping.encode_bytes(text).tolist()
    assert overlapping.decode_bytes(ids) == text
    assert ids == naive_encoder(overlapping).encode(text)


@given(TEXTS, st.lists(st.integers(1, 40), max_size=20))
@UNTIMED
def test_an_iterable_gives_the_ids_of_the_whole_text(overlapping: Tokenizer, text: str, cuts: list[int]) -> None:
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert list(overlapping.encode_iterable([*pieces, rest])) == overlapping.encode(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        SPECIAL.encode(),
        SPECIAL.encode() * 3,
        b"\r\n\r\n a\r\n",
        b"a\0b",
        b"end \xe4\xb8",
        b" ",
        b"\n" * 9,
    ],
)
def test_an_odd_file_is_encoded_without_loss_and_equals_the_reference(
    text: bytes, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(text)
    count = tokenizer.encode_file(tmp_path / "text", tmp_path / "ids")
    ids = np.fromfile(tmp_path / "ids", "<u2").tolist()
    assert len(ids) == count
    assert ids == naive_encoder(tokenizer).encode(text)
    assert tokenizer.decode_bytes(ids) == text


def encoded(tokenizer: Tokenizer, text: bytes, folder: Path, threads: int = 1) -> np.ndarray:
    (folder / "text").write_bytes(text)
    tokenizer.encode_file(folder / "text", folder / "ids", threads=threads)
    return np.fromfile(folder / "ids", "<u2")


def test_any_number_of_threads_gives_the_same_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = standard_library(9_000_000)
    once = encoded(tokenizer, text, tmp_path)
    assert tokenizer.decode_bytes(once.tolist()) == text
    for threads in (2, 7):
        assert np.array_equal(encoded(tokenizer, text, tmp_path, threads), once)


def test_a_document_of_twenty_megabytes_comes_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = (standard_library(2_000_000).replace(SPECIAL.encode(), b"") * 11)[:20_000_000]
    ids = encoded(tokenizer, text, tmp_path)
    assert tokenizer.decode_bytes(ids.tolist()) == text
    assert np.array_equal(ids, tokenizer.encode_bytes(text))


def test_words_of_a_hundred_kilobytes_come_back_and_equal_the_reference(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = random.Random(0)
    words = [
        "".join(source.choices("abcdefgh", k=100_000)),
        "-" * 100_000,
        " " * 100_000 + "x",
        "\u3000" * 9_999,
    ]
    text = " ".join(words).encode()
    ids = encoded(tokenizer, text, tmp_path)
    assert tokenizer.decode_bytes(ids.tolist()) == text
    short = text[:700] + b" " + b"-" * 900
    assert tokenizer.encode_bytes(short).tolist() == naive_encoder(tokenizer).encode(short)


def tiktoken_encoding(tokenizer: Tokenizer) -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    specials = set(tokenizer.special_tokens)
    special_ids = {special: tokenizer.token_id(special.encode()) for special in specials}
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in special_ids.values()}
    return tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special_ids)


def assert_equals_tiktoken(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == tiktoken_encoding(tokenizer).encode(text, allowed_special="all")


def test_equals_tiktoken(tokenizer: Tokenizer) -> None:
    assert_equals_tiktoken(tokenizer, standard_library(1_500_000).decode())


@pytest.mark.slow
def test_equals_tiktoken_on_much_text(tokenizer: Tokenizer) -> None:
    text = standard_library(40_000_000).decode()
    shifted = text[1:] if len(text) > 25_000_000 else text + text[1:] + text[2:]
    assert len(shifted) > 25_000_000
    assert_equals_tiktoken(tokenizer, shifted)


@pytest.mark.slow
def test_a_hundred_megabytes_come_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    text = (standard_library(12_000_000) * 8)[:85_000_000] + source.bytes(20_000_000)
    ids = encoded(tokenizer, text, tmp_path, threads=2)
    vocab = np.array([tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)], object)
    assert b"".join(vocab[ids]) == text
