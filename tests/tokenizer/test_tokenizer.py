"""What a tokenizer is made of, and the files that it writes or does not write."""

from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.split.chunks import Chunk
from lmablate.tokenizer.text_encoder import TextEncoder
from tests.tokenizer.helpers import BYTES, SPECIAL, Trained


def test_the_fingerprint_tells_tokenizers_apart(trained: Trained) -> None:
    vocab, merges = trained
    kinds = [(n, specials) for n in (5, 9) for specials in ([], [SPECIAL])]
    prints = {Tokenizer(vocab, merges[:n], specials).fingerprint for n, specials in kinds}
    assert len(prints) == 4


def test_lengths_are_those_of_the_tokens(tokenizer: Tokenizer) -> None:
    lengths = tokenizer.token_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    text = "bits per byte need the number of bytes, é"
    assert lengths[tokenizer.encode(text)].sum() == len(text.encode())


def test_a_special_token_gets_the_next_id_or_keeps_the_one_it_has() -> None:
    tokenizer = Tokenizer(BYTES, [], ["<s>", "a"])
    assert tokenizer.vocab_size == 257
    assert tokenizer.encode("a<s>b") == [97, 256, 98]


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        (BYTES | {257: b"ab"}, [], "without gaps"),
        (BYTES | {256: b"a"}, [], "twice"),
        ({i: bytes([i]) for i in range(255)}, [], "every single byte"),
        (BYTES, [(b"a", b"b")], "does not"),
        (BYTES | {256: b"ab"}, [(b"a", b"b")] * 2, "pair twice"),
        (BYTES | {i: b"%d" % i for i in range(256, 65_538)}, [], "at most 65536"),
    ],
)
def test_an_inconsistent_tokenizer_is_refused(
    vocab: dict[int, bytes], merges: list[tuple[bytes, bytes]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer(vocab, merges)


@pytest.mark.parametrize("token_id", [-1, 3000, 99_999])
def test_an_id_that_does_not_exist_is_refused(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(UserError, match="from 0 to 2999"):
        tokenizer.decode([token_id])


def test_errors_leave_no_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
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


def test_an_interruption_leaves_no_file(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("text")

    def interrupt(self: TextEncoder, chunk: Chunk) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TextEncoder, "_encode_chunk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
