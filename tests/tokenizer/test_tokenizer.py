"""What a tokenizer is made of, its file, and other programs' files."""

import json

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.byte_alphabet import from_printable, to_printable
from lmablate.tokenizer.interchange import load_gpt2, save_hugging_face
from tests.tokenizer.helpers import SPECIAL, standard_library

BYTES = {i: bytes([i]) for i in range(256)}


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.from_files(tmp_path / "tokenizer.json")
    assert loaded.vocab == tokenizer.vocab
    assert loaded.merges == tokenizer.merges
    assert loaded.special_tokens == [SPECIAL]
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("It's here.") == tokenizer.encode("It's here.")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_fingerprint_tells_tokenizers_apart(trained):
    vocab, merges = trained
    kinds = [(n, specials) for n in (5, 9) for specials in ([], [SPECIAL])]
    prints = {Tokenizer(vocab, merges[:n], specials).fingerprint for n, specials in kinds}
    assert len(prints) == 4


def test_lengths_are_those_of_the_tokens(tokenizer):
    lengths = tokenizer.token_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    text = "bits per byte need the number of bytes, é"
    assert lengths[tokenizer.encode(text)].sum() == len(text.encode())


def test_a_special_token_gets_the_next_id_or_keeps_the_one_it_has():
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
def test_an_inconsistent_tokenizer_is_refused(vocab, merges, message):
    with pytest.raises(UserError, match=message):
        Tokenizer(vocab, merges)


@pytest.mark.parametrize("token_id", [-1, 3000, 99_999])
def test_an_id_that_does_not_exist_is_refused(tokenizer, token_id):
    with pytest.raises(UserError, match="from 0 to 2999"):
        tokenizer.decode([token_id])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format must be"),
        ({"version": 2}, "version must be"),
        ({"unicode_classes": 99}, "unicode_classes must be"),
        ({"tokens": "abc"}, "tokens must be a list"),
        ({"tokens": ["a", 1]}, "tokens must be a list"),
        ({"tokens": ["\u4e2d"]}, "merges must be"),
        ({"merges": [[1]]}, "merges must be"),
        ({"merges": [[1, 99_999]]}, "merges must be"),
        ({"merges": [[1, True]]}, "merges must be"),
        ({"special_tokens": None}, "special_tokens must be"),
    ],
)
def test_a_damaged_file_is_refused_in_words(tokenizer, tmp_path, change, message):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Tokenizer.from_files(path)


def test_files_that_are_no_tokenizer_are_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="cannot be read"):
        Tokenizer.from_files(path)
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b"[]"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"tokenizer\.json"):
            Tokenizer.from_files(path)
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(UserError, match="larger than"):
        Tokenizer.from_files(path)


def test_the_byte_alphabet_is_a_bijection():
    every = bytes(range(256))
    assert from_printable(to_printable(every)) == every
    assert to_printable(b" \n!") == "ĠĊ!"


def assert_hugging_face_agrees(tokenizer, text: str, folder):
    tokenizers = pytest.importorskip("tokenizers")
    save_hugging_face(tokenizer, folder / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    ids = theirs.encode(text, add_special_tokens=False).ids
    assert ids == tokenizer.encode(text)
    assert theirs.decode(ids, skip_special_tokens=False) == text


def test_hugging_face_gives_the_same_ids(tokenizer, tmp_path):
    assert_hugging_face_agrees(tokenizer, standard_library(300_000).decode(), tmp_path)


@pytest.mark.slow
def test_hugging_face_gives_the_same_ids_on_much_text(tokenizer, tmp_path):
    assert_hugging_face_agrees(tokenizer, standard_library(6_000_000).decode(), tmp_path)


def test_gpt2_files_are_read(tokenizer, tmp_path):
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
def test_damaged_gpt2_files_are_refused(tmp_path, vocab, merges, message):
    (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(UserError, match=message):
        load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_a_merge_of_three_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({to_printable(token): i for i, token in BYTES.items()}))
    (tmp_path / "merges.txt").write_text("a b c\n")
    with pytest.raises(UserError, match="must hold two tokens"):
        load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
