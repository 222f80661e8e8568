"""GPT-2's pair of files: read as Hugging Face and tiktoken read it, or refused with the reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.byte_alphabet import CHARACTER_OF_BYTE, to_printable
from tests.tokenizer.helpers import BYTES, SPECIAL, UNTIMED, standard_library

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
Pair = tuple[Path, Path]


def written(folder: Path, vocab: Any, merges: Any) -> Pair:
    """Write a pair; `vocab` and `merges` are a file's content, or what makes it."""
    paths = folder / "vocab.json", folder / "merges.txt"
    paths[0].write_text(vocab if isinstance(vocab, str) else json.dumps(vocab), encoding="utf-8")
    lines = "".join(f"{merge}\n" for merge in merges) if isinstance(merges, list) else merges
    paths[1].write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return paths


def printed(tokenizer: Tokenizer) -> tuple[dict[str, int], list[str]]:
    """The pair of a tokenizer, with special tokens written as they are."""
    specials = {special.encode(): special for special in tokenizer.special_tokens}
    vocab = {specials.get(token, to_printable(token)): token_id for token_id, token in tokenizer.vocab.items()}
    return vocab, [f"{to_printable(left)} {to_printable(right)}" for left, right in tokenizer.merges]


@pytest.fixture(scope="module")
def pair(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    vocab, merges = printed(tokenizer)
    return written(tmp_path_factory.mktemp("pair"), vocab, ["#version: 0.2", *merges])


def test_a_pair_is_the_tokenizer_it_was_written_from(tokenizer: Tokenizer, pair: Pair) -> None:
    assert Tokenizer.from_files(*pair, [SPECIAL]).fingerprint == tokenizer.fingerprint
    by_name = Tokenizer.from_files(vocab_filepath=str(pair[0]), merges_filepath=str(pair[1]), special_tokens=[SPECIAL])
    assert by_name.fingerprint == tokenizer.fingerprint


def test_hugging_faces_own_pair_gives_its_ids_and_tiktokens(tmp_path: Path) -> None:
    tokenizers, tiktoken = pytest.importorskip("tokenizers"), pytest.importorskip("tiktoken")
    text = standard_library(300_000).decode()
    theirs = tokenizers.ByteLevelBPETokenizer()
    theirs.train_from_iterator([text], vocab_size=1500, special_tokens=[SPECIAL, "<pad>"], show_progress=False)
    theirs.save_model(str(tmp_path))
    ours = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", [SPECIAL, "<pad>"])
    assert ours.vocab_size == theirs.get_vocab_size()
    assert ours.token_id(b"<pad>") == 1
    ids = ours.encode(text)
    assert ids == theirs.encode(text).ids
    assert ours.decode(ids) == text

    # tiktoken merges in the order of the ids, which is the order of the merges here.
    specials = {special: ours.encode(special)[0] for special in ours.special_tokens}
    ranks = {token: i for i, token in ours.vocab.items() if i not in specials.values()}
    encoding = tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=specials)
    assert encoding.encode(text, allowed_special="all") == ids


SMALL = {character: byte for byte, character in CHARACTER_OF_BYTE.items()} | {"th": 256, "the": 257, "Ġthe": 258}
MERGES = ["t h", "th e", "Ġ the"]

READ: dict[str, tuple[Any, Any, list[str] | None, str, list[int]]] = {
    # vocabulary, merges, special tokens, a text, its ids
    "no version": (SMALL, MERGES, None, "the the", [257, 258]),
    "a version": (SMALL, ["#version: 0.2", *MERGES], None, "the", [257]),
    "Windows's line ends": (SMALL, "\r\n".join(MERGES), None, "the", [257]),
    "a byte order mark": (SMALL, "\ufeff#version: 0.2\n" + "\n".join(MERGES), None, "the", [257]),
    "a byte order mark before the vocabulary": ("\ufeff" + json.dumps(SMALL), MERGES, None, "the", [257]),
    "no last line end": (SMALL, "\n".join(MERGES), None, " the", [258]),
    "empty lines": (SMALL, ["", *MERGES, "", "  ", ""], None, " the", [258]),
    "blanks at the ends": (SMALL, [f" {merge}  " for merge in MERGES], None, " the", [258]),
    "escaped characters": (json.dumps(SMALL, ensure_ascii=True), MERGES, None, " the", [258]),
    "no merges": (SMALL, "", None, "th", [116, 104]),
    "a special token of the vocabulary": (SMALL | {SPECIAL: 259}, MERGES, [SPECIAL], f"the{SPECIAL}", [257, 259]),
    "a special token that is new": (SMALL, MERGES, [SPECIAL], f"the{SPECIAL}", [257, 259]),
    "one known and one new": (SMALL | {"<a>": 259}, MERGES, ["<b>", "<a>"], "<a><b>the", [259, 260, 257]),
    "a special token that is not named": (SMALL | {"<a>": 259}, MERGES, None, "<a>", [60, 97, 62]),
    "a special token with a blank": (SMALL | {"<a b>": 259}, MERGES, ["<a b>"], "<a b>", [259]),
    "a special token of other letters": (SMALL | {"終わり": 259}, MERGES, ["終わり"], "終わりthe", [259, 257]),
    "a special token of one letter": (SMALL, MERGES, ["é"], "éé", [259, 259]),
    "a special token that merges make": (SMALL, MERGES, ["the"], "the the", [257, 32, 257]),
    "a special token that looks like one with a blank": (SMALL, MERGES, ["Ġthe"], "Ġthe the", [259, 258]),
    "a special token first": ({"<s>": 0} | {t: i + 1 for t, i in SMALL.items()}, MERGES, ["<s>"], "<s>the", [0, 258]),
    "a tuple of special tokens": (SMALL, MERGES, ("<a>",), "<a>", [259]),  # pyright: ignore[reportAssignmentType]
}


@pytest.mark.parametrize(("vocab", "merges", "specials", "text", "ids"), READ.values(), ids=READ.keys())
def test_a_pair_is_read(
    vocab: Any, merges: Any, specials: list[str] | None, text: str, ids: list[int], tmp_path: Path
) -> None:
    tokenizer = Tokenizer.from_files(*written(tmp_path, vocab, merges), specials)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text


REFUSED: dict[str, tuple[Any, Any, Any, str]] = {
    "a list": ("[]", "", None, "must be an object of ids by token"),
    "ids that are texts": ({"a": "b"}, "", None, "must be an object of ids by token"),
    "ids that are floats": ({"a": 0.0}, "", None, "must be an object of ids by token"),
    "an id twice": (SMALL | {"x y": 5}, "", ["x y"], "has the id 5 twice"),
    "a gap": (SMALL | {"an": 300}, MERGES, None, "without gaps"),
    "a negative id": (SMALL | {"an": -1}, MERGES, None, "without gaps"),
    "a byte missing": ({t: i for i, t in enumerate([*SMALL][1:])}, MERGES, None, "every single byte"),
    "a character that is no byte": (SMALL | {"中": 259}, MERGES, None, "stands for no byte: if the token is special"),
    "SentencePiece": (SMALL | {"▁the": 259}, MERGES, None, "this is no byte-level BPE"),
    "CLIP": (SMALL | {"e</w>": 259, "the</w>": 260}, ["t h", "th e</w>"], None, "b'e</w>' is neither a byte nor made"),
    "merges out of order": (SMALL, MERGES[::-1], None, "neither a byte nor made by a merge before it"),
    "a merge of three": (SMALL, ["t h e"], None, "must hold two tokens"),
    "a merge of one": (SMALL, ["th"], None, "must hold two tokens"),
    "a merge that makes no token": (SMALL, ["a b"], None, "does not"),
    "a merge twice": (SMALL, ["t h", "t h"], None, "pair twice"),
    "a merge of what is no byte": (SMALL, ["中 a"], None, "stands for no byte"),
    "merges that are not UTF-8": (SMALL, b"t h\n\xff\xfe", None, "is not UTF-8"),
    "merges that are JSON": (SMALL, json.dumps(SMALL), None, "must hold two tokens"),
    "a vocabulary that is not JSON": ("#version: 0.2\nt h", "", None, "cannot be read as JSON"),
    "a vocabulary of nothing": ("", "", None, "cannot be read as JSON"),
    "a vocabulary nested without end": ("[" * 100_000, "", None, "cannot be read as JSON"),
    "special tokens that are one text": (SMALL, MERGES, "<a>", "must be a list of strings"),
    "special tokens that are numbers": (SMALL, MERGES, [3], "must be strings"),
    "a special token twice": (SMALL, MERGES, ["<a>", "<a>"], "must differ"),
    "an empty special token": (SMALL, MERGES, [""], "not empty"),
    "too many tokens": (SMALL | {f"<{i}>": i for i in range(259, 65_538)}, MERGES, None, "at most 65536"),
}


@pytest.mark.parametrize(("vocab", "merges", "specials", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_pair_is_refused_in_one_sentence(
    vocab: Any, merges: Any, specials: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        Tokenizer.from_files(*written(tmp_path, vocab, merges), specials)
    assert "\n" not in str(refusal.value)


CONFUSED: dict[str, tuple[Callable[[Pair, Path], Tokenizer], str]] = {
    "the vocabulary alone": (lambda pair, own: Tokenizer.from_files(pair[0]), r"give its merges\.txt, too"),
    "the merges alone": (lambda pair, own: Tokenizer.from_files(pair[1]), "cannot be read as JSON"),
    "the other way round": (lambda pair, own: Tokenizer.from_files(pair[1], pair[0]), "cannot be read as JSON"),
    "our file with merges": (lambda pair, own: Tokenizer.from_files(own, pair[1]), "has merges of its own"),
    "no such vocabulary": (lambda pair, own: Tokenizer.from_files("none.json", pair[1]), r"none\.json cannot be read"),
    "no such merges": (lambda pair, own: Tokenizer.from_files(pair[0], "none.txt"), r"none\.txt cannot be read"),
    "a folder": (lambda pair, own: Tokenizer.from_files(own.parent), "cannot be read"),
    "a folder of merges": (lambda pair, own: Tokenizer.from_files(pair[0], own.parent), "cannot be read"),
    "Hugging Face's file": (
        lambda pair, own: Tokenizer.from_files(hugging_face(own.parent)), "give the files vocab.json and merges.txt"
    ),
}  # fmt: skip


def hugging_face(folder: Path) -> Path:
    path = folder / "hugging_face.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}}}))
    return path


@pytest.mark.parametrize(("call", "message"), CONFUSED.values(), ids=CONFUSED.keys())
def test_files_that_are_confused_are_told_apart(
    call: Callable[[Pair, Path], Tokenizer], message: str, tokenizer: Tokenizer, pair: Pair, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "own.json")
    with pytest.raises(UserError, match=message):
        call(pair, tmp_path / "own.json")


def test_our_file_takes_further_special_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "own.json")
    more = Tokenizer.from_files(tmp_path / "own.json", special_tokens=["<a>", SPECIAL])
    assert more.special_tokens == [SPECIAL, "<a>"]
    assert more.encode(f"<a>{SPECIAL}") == [tokenizer.vocab_size, tokenizer.token_id(SPECIAL.encode())]


texts = st.text(max_size=6) | st.sampled_from([*SMALL])


@UNTIMED
@given(
    vocab=st.dictionaries(texts, st.integers(-2, 300) | st.none() | st.floats(), max_size=4),
    merges=st.lists(st.lists(texts, max_size=3).map(" ".join), max_size=4) | st.binary(max_size=30),
    specials=st.none() | st.lists(texts, max_size=3) | texts,
)
def test_no_pair_crashes_the_reader(
    vocab: Any, merges: Any, specials: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = merges if isinstance(merges, bytes) else "\n".join(merges).encode("utf-8", "surrogatepass")
    files = written(tmp_path_factory.getbasetemp(), SMALL | vocab, lines)
    try:
        tokenizer = Tokenizer.from_files(*files, specials)
    except UserError:
        return
    assert tokenizer.decode(tokenizer.encode("the end")) == "the end"
    assert tokenizer.vocab_size >= len(BYTES)
