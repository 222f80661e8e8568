"""A text that is read in chunks gives the ids of the whole, wherever the chunks end."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.split.chunks import read_chunks
from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.split.text import TextStream
from tests.tokenizer.helpers import OVERLAPPING, TEXTS, UNTIMED


@given(TEXTS, st.integers(1, 60))
@UNTIMED
def test_chunks_of_any_size_give_the_ids_of_the_whole(overlapping: Tokenizer, text: str, chunk_bytes: int) -> None:
    chunks = list(read_chunks(TextStream([text]), SpecialTokens(OVERLAPPING), chunk_bytes))
    pieces = [chunk.text[: chunk.size].tobytes() for chunk in chunks]
    assert b"".join(pieces) == text.encode()
    ids = [token_id for piece in pieces for token_id in overlapping.encode_bytes(piece).tolist()]
    assert ids == overlapping.encode(text)


def test_a_word_longer_than_a_chunk_comes_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = b"x" * 9_000_000 + b" end"
    (tmp_path / "text").write_bytes(text)
    tokenizer.encode_file(tmp_path / "text", tmp_path / "ids")
    ids = (tmp_path / "ids").read_bytes()
    assert tokenizer.decode_bytes(memoryview(ids).cast("H").tolist()) == text
