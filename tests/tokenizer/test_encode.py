"""Encoding: equal to the naive reference and to tiktoken, lossless, the same however the text is cut."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.chunks import SpecialTokens, TextStream, read_chunks
from lmablate.tokenizer.naive import NaiveEncoder
from lmablate.tokenizer.pretokenize import PATTERN
from tests.tokenizer.helpers import SPECIAL, standard_library

# The first example may have to compile.
UNTIMED = settings(deadline=None)
OVERLAPPING = ["<a>", "<a><a>", "a>b", "<", SPECIAL]


@pytest.fixture(scope="module")
def overlapping(trained) -> Tokenizer:
    """A tokenizer whose special tokens begin, end and contain each other."""
    return Tokenizer(*trained, OVERLAPPING)


def naive(tokenizer: Tokenizer) -> NaiveEncoder:
    ids = {token: i for i, token in tokenizer.vocab.items()}
    return NaiveEncoder(ids, tokenizer.merges, [special.encode() for special in tokenizer.special_tokens])


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["<a>", "<a", "a>b", SPECIAL, SPECIAL[:5], "  ", "\r\n", "\0", "'ll", "the", "=" * 70, "中文"]),
    ),
    max_size=25,
).map("".join)


@given(TEXTS)
@UNTIMED
def test_equals_the_naive_reference(overlapping, text):
    assert overlapping.encode(text) == naive(overlapping).encode(text.encode())


@given(TEXTS)
@UNTIMED
def test_text_comes_back(overlapping, text):
    assert overlapping.decode(overlapping.encode(text)) == text


@given(st.binary(max_size=300))
@UNTIMED
def test_bytes_that_are_no_text_come_back_and_equal_the_reference(overlapping, text):
    ids = overlapping.encode_bytes(text).tolist()
    assert overlapping.decode_bytes(ids) == text
    assert ids == naive(overlapping).encode(text)


@given(TEXTS, st.lists(st.integers(1, 40), max_size=20))
@UNTIMED
def test_iterable_gives_the_ids_of_the_whole(overlapping, text, cuts):
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert list(overlapping.encode_iterable([*pieces, rest])) == overlapping.encode(text)


@given(TEXTS, st.integers(1, 60))
@UNTIMED
def test_chunks_of_any_size_give_the_ids_of_the_whole(overlapping, text, chunk_bytes):
    chunks = list(read_chunks(TextStream([text]), SpecialTokens(OVERLAPPING), chunk_bytes))
    pieces = [chunk.text[: chunk.size].tobytes() for chunk in chunks]
    assert b"".join(pieces) == text.encode()
    ids = [token_id for piece in pieces for token_id in overlapping.encode_bytes(piece).tolist()]
    assert ids == overlapping.encode(text)


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
def test_odd_files(text, tokenizer, tmp_path):
    (tmp_path / "text").write_bytes(text)
    count = tokenizer.encode_file(tmp_path / "text", tmp_path / "ids")
    ids = np.fromfile(tmp_path / "ids", "<u2").tolist()
    assert len(ids) == count
    assert ids == naive(tokenizer).encode(text)
    assert tokenizer.decode_bytes(ids) == text


def encoded(tokenizer, text: bytes, folder, threads: int = 1) -> np.ndarray:
    (folder / "text").write_bytes(text)
    tokenizer.encode_file(folder / "text", folder / "ids", threads=threads)
    return np.fromfile(folder / "ids", "<u2")


def test_any_number_of_threads_gives_the_same_file(tokenizer, tmp_path):
    text = standard_library(9_000_000)
    once = encoded(tokenizer, text, tmp_path)
    assert tokenizer.decode_bytes(once.tolist()) == text
    for threads in (2, 7):
        assert np.array_equal(encoded(tokenizer, text, tmp_path, threads), once)


def test_a_document_of_twenty_megabytes(tokenizer, tmp_path):
    text = (standard_library(2_000_000).replace(SPECIAL.encode(), b"") * 11)[:20_000_000]
    ids = encoded(tokenizer, text, tmp_path)
    assert tokenizer.decode_bytes(ids.tolist()) == text
    assert np.array_equal(ids, tokenizer.encode_bytes(text))


def test_words_of_a_hundred_kilobytes(tokenizer, tmp_path):
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
    assert tokenizer.encode_bytes(short).tolist() == naive(tokenizer).encode(short)


def test_a_word_longer_than_a_chunk(tokenizer, tmp_path):
    text = b"x" * 9_000_000 + b" end"
    assert tokenizer.decode_bytes(encoded(tokenizer, text, tmp_path).tolist()) == text


def tiktoken_encoding(tokenizer: Tokenizer):
    tiktoken = pytest.importorskip("tiktoken")
    specials = set(tokenizer.special_tokens)
    special_ids = {special: tokenizer.token_id(special.encode()) for special in specials}
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in special_ids.values()}
    return tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special_ids)


def assert_equals_tiktoken(tokenizer, text: str):
    assert tokenizer.encode(text) == tiktoken_encoding(tokenizer).encode(text, allowed_special="all")


def test_equals_tiktoken(tokenizer):
    assert_equals_tiktoken(tokenizer, standard_library(1_500_000).decode())


@pytest.mark.slow
def test_equals_tiktoken_on_much_text(tokenizer):
    text = standard_library(40_000_000).decode()
    shifted = text[1:] if len(text) > 25_000_000 else text + text[1:] + text[2:]
    assert len(shifted) > 25_000_000
    assert_equals_tiktoken(tokenizer, shifted)


@pytest.mark.slow
def test_a_hundred_megabytes_come_back(tokenizer, tmp_path):
    source = np.random.default_rng(0)
    text = (standard_library(12_000_000) * 8)[:85_000_000] + source.bytes(20_000_000)
    ids = encoded(tokenizer, text, tmp_path, threads=2)
    vocab = np.array([tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)], object)
    assert b"".join(vocab[ids]) == text


def test_a_lone_surrogate_is_refused(tokenizer):
    with pytest.raises(UserError, match="character 1 is a lone surrogate"):
        tokenizer.encode("a\ud800")


def test_errors_leave_no_file(tokenizer, tmp_path):
    with pytest.raises(UserError, match=r"nowhere cannot be read"):
        tokenizer.encode_file(tmp_path / "nowhere", tmp_path / "ids")
    (tmp_path / "text").write_text("text")
    with pytest.raises(UserError, match="cannot be written"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "no folder" / "ids")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "folder")
    with pytest.raises(UserError, match="threads"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", threads=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "text"]


def test_an_interruption_leaves_no_file(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "text").write_text("text")

    def interrupt(chunk):
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "_encode_chunk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
