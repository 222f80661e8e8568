"""What a tokenizer is made of, and the files that it writes or does not write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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
        ([*BYTES.values()], [], "must be a dict of bytes by id, but is of the type list"),
        (None, [], "must be a dict"),
        (BYTES | {256: "ab"}, [], "must be bytes, but one is 'ab'"),
        (BYTES | {256: 3}, [], "must be bytes, but one is 3"),
        ({token: i for i, token in BYTES.items()}, [], "must be bytes, but one is 0"),
        (BYTES | {"256": b"ab"}, [], "without gaps"),
        (BYTES | {256: b"ab"}, [("a", "b")], "pairs of bytes, but one is"),
        (BYTES | {256: b"ab"}, [(b"a", b"b", b"c")], "pairs of bytes, but one is"),
        (BYTES | {256: b"ab"}, [b"ab"], "pairs of bytes, but one is"),
        (BYTES | {256: b"ab"}, [(97, 98)], "pairs of bytes, but one is"),
        (BYTES | {256: b"ab"}, [None], "pairs of bytes, but one is"),
    ],
)
def test_an_inconsistent_tokenizer_is_refused(vocab: Any, merges: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer(vocab, merges)


@pytest.mark.parametrize("token_id", [-1, 3000, 99_999])
def test_an_id_that_does_not_exist_is_refused(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(UserError, match="from 0 to 2999"):
        tokenizer.decode([token_id])


def test_merges_may_be_lists(trained: Trained) -> None:
    vocab, merges = trained
    assert Tokenizer(vocab, [[*pair] for pair in merges]).fingerprint == Tokenizer(vocab, merges).fingerprint  # pyright: ignore[reportArgumentType]


IDS: dict[str, Callable[[list[int]], Any]] = {
    "a list": list,
    "a tuple": tuple,
    "a generator": iter,
    "uint16": lambda ids: np.array(ids, np.uint16),
    "int64": lambda ids: np.array(ids),
    "a tensor": lambda ids: torch.tensor(ids),
    "a tensor of int32": lambda ids: torch.tensor(ids, dtype=torch.int32),
    "no ids": lambda ids: [],
}


@pytest.mark.parametrize("form", IDS.values(), ids=IDS.keys())
def test_ids_may_come_in_any_form(form: Callable[[list[int]], Any], tokenizer: Tokenizer) -> None:
    text = "def main(): return 'é'"
    ids = form(tokenizer.encode(text))
    assert tokenizer.decode(ids) == (text if form is not IDS["no ids"] else "")


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "encode, bytes": (lambda t: t.encode(b"a"), "text must be a string, but is b'a'"),
    "encode, nothing": (lambda t: t.encode(None), "text must be a string, but is None"),
    "encode, a list": (lambda t: t.encode(["a"]), r"text must be a string, but is \['a'\]"),
    "encode, a lone surrogate": (lambda t: t.encode("\ud800"), "lone surrogate"),
    "encode_bytes, a string": (lambda t: t.encode_bytes("a"), "encode takes a string"),
    "encode_bytes, a number": (lambda t: t.encode_bytes(7), "takes bytes, but was given 7"),
    "encode_iterable, a number": (lambda t: list(t.encode_iterable(7)), "takes strings one after the other"),
    "encode_iterable, bytes": (lambda t: list(t.encode_iterable(b"ab")), "text must be a string, but is 97"),
    "encode_iterable, numbers": (lambda t: list(t.encode_iterable(["a", 1])), "text must be a string, but is 1"),
    "decode, a number": (lambda t: t.decode(5), "takes a list of token ids, but was given 5"),
    "decode, nothing": (lambda t: t.decode(None), "takes a list of token ids"),
    "decode, a string": (lambda t: t.decode("ab"), "from 0 to 2999, but is 'a'"),
    "decode, floats": (lambda t: t.decode([1.0]), r"from 0 to 2999, but is 1\.0"),
    "decode, rows": (lambda t: t.decode([[1, 2]]), r"from 0 to 2999, but is \[1, 2\]"),
    "decode, rows of a tensor": (lambda t: t.decode(torch.ones(2, 2, dtype=torch.int64)), "from 0 to 2999"),
    "decode, a float tensor": (lambda t: t.decode(torch.ones(2)), "from 0 to 2999"),
    "decode, a negative id of numpy": (lambda t: t.decode(np.array([-1])), "from 0 to 2999"),
    "token_bytes, nothing": (lambda t: t.token_bytes(None), "from 0 to 2999, but is None"),
    "token_id, a string": (lambda t: t.token_id("a"), "a token must be bytes, but is 'a'"),
    "special tokens, a string": (lambda t: Tokenizer(t.vocab, t.merges, "<a>"), "must be a list of strings"),
    "special tokens, bytes": (lambda t: type(t)(t.vocab, t.merges, [b"<a>"]), "must be strings"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_text_and_no_id_is_refused_in_one_sentence(
    call: Callable[[Any], Any], message: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(UserError, match=message):
        call(tokenizer)


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
