"""Preparing data: once, the same every time, and continued wherever it stopped."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lmablate.data.corpora import END_OF_TEXT, TextFiles
from lmablate.data.prepare import PreparedData, prepare_data
from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from tests.data.helpers import STORY, Vocabulary, contents


@pytest.fixture
def corpus(tmp_path) -> TextFiles:
    train, valid = tmp_path / "train.txt", tmp_path / "valid.txt"
    train.write_text("".join(STORY.format(i**3) for i in range(300)))
    valid.write_text("".join(STORY.format(i**2) for i in range(30)))
    return TextFiles(str(train), str(valid))


def decoded(data: PreparedData, split: str) -> str:
    return Tokenizer.from_files(data.tokenizer_path).decode(getattr(data, split).array.tolist())


def test_token_files_decode_to_the_text(corpus, tmp_path):
    data = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    assert decoded(data, "train") == corpus.sources["train"].read_text()
    assert decoded(data, "valid") == corpus.sources["valid"].read_text()
    assert data.train.manifest.text_bytes == corpus.sources["train"].stat().st_size
    assert data.train.n_tokens == len(data.train.array)


def test_the_folder_holds_what_is_promised(corpus, tmp_path):
    data = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    folder = data.tokenizer_path.parent.parent
    assert folder.name.startswith("text-")
    assert set(contents(folder)) == {
        "train.txt",
        "valid.txt",
        "corpus.json",
        *(f"tokenizer-300/{name}" for name in ("tokenizer.json", "train.bin", "train.json", "valid.bin", "valid.json")),
    }
    facts = json.loads((folder / "corpus.json").read_text())
    assert facts["fingerprint"] == data.fingerprint
    assert facts["identity"] == corpus.identity() == data.valid.manifest.source


def test_preparing_again_changes_no_file(corpus, tmp_path):
    first = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.*")}
    second = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.*")} == stamps


def test_two_vocabularies_share_the_text(corpus, tmp_path):
    small, large = (prepare_data(corpus, Vocabulary(size), tmp_path / "data") for size in (280, 320))
    assert small.fingerprint == large.fingerprint
    assert small.tokenizer_path.parent.parent == large.tokenizer_path.parent.parent
    assert small.train.n_tokens > large.train.n_tokens


def test_the_fingerprint_follows_the_text_alone(corpus, tmp_path):
    first = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    os.utime(corpus.sources["train"], ns=(1, 1))
    touched = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    assert touched.fingerprint == first.fingerprint
    assert touched.tokenizer_path != first.tokenizer_path
    swapped = TextFiles(str(corpus.sources["valid"]), str(corpus.sources["train"]))
    assert prepare_data(swapped, Vocabulary(), tmp_path / "data").fingerprint != first.fingerprint


def test_any_missing_file_is_made_again_with_the_same_bytes(corpus, tmp_path):
    folder = prepare_data(corpus, Vocabulary(), tmp_path / "data").tokenizer_path.parent.parent
    whole = contents(folder)
    for name in [name for name in whole if not name.endswith(".txt")]:
        (folder / name).unlink()
        if name.endswith(".bin"):
            (folder / name).with_suffix(".json").unlink()
        prepare_data(corpus, Vocabulary(), tmp_path / "data")
        assert contents(folder) == whole


def test_leftovers_of_a_killed_process_are_removed(corpus, tmp_path):
    folder = prepare_data(corpus, Vocabulary(), tmp_path / "data").tokenizer_path.parent.parent
    (folder / "train.txt.0badcafe.part").write_bytes(b"half a line")
    (folder / "tokenizer-300" / "train.bin.0badcafe.part").write_bytes(b"half")
    prepare_data(corpus, Vocabulary(), tmp_path / "data")
    assert not list(folder.rglob("*.part"))


def test_a_corrupted_token_file_is_reported(corpus, tmp_path):
    data = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    content = bytearray(data.train.path.read_bytes())
    content[100] ^= 1
    data.train.path.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.bin is corrupted: its sha256"):
        prepare_data(corpus, Vocabulary(), tmp_path / "data")
    data.train.path.unlink()
    data.train.path.with_suffix(".json").unlink()
    assert (
        decoded(prepare_data(corpus, Vocabulary(), tmp_path / "data"), "train") == corpus.sources["train"].read_text()
    )


def test_corrupted_text_is_reported_before_it_is_used(corpus, tmp_path):
    folder = prepare_data(corpus, Vocabulary(), tmp_path / "data").tokenizer_path.parent.parent
    (folder / "train.txt").write_text("something else")
    with pytest.raises(UserError, match=r"train\.txt is missing or corrupted"):
        prepare_data(corpus, Vocabulary(310), tmp_path / "data")


def test_another_tokenizer_in_the_folder_is_noticed(corpus, tmp_path):
    data = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    useless = [(b"z", bytes([i])) for i in range(43)]
    vocab = [bytes([i]) for i in range(256)] + [b"".join(pair) for pair in useless] + [END_OF_TEXT.encode()]
    Tokenizer(dict(enumerate(vocab)), useless, [END_OF_TEXT]).save(data.tokenizer_path)
    again = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    assert again.train.n_tokens > data.train.n_tokens
    assert decoded(again, "train") == corpus.sources["train"].read_text()


def test_a_text_that_does_not_yield_the_vocabulary_stops_with_a_sentence(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("abab abab\n")
    short = TextFiles(str(tmp_path / "train.txt"), str(tmp_path / "valid.txt"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"tokenizer\.vocab_size=300 cannot be reached: .* has 26\d tokens"):
            prepare_data(short, Vocabulary(300), tmp_path / "data")


def test_a_bad_source_leaves_nothing_that_looks_whole(corpus, tmp_path):
    corpus.sources["valid"].write_bytes(b"good\n\xff bad")
    with pytest.raises(UserError, match=r"data\.valid=.* is not UTF-8: byte 5 "):
        prepare_data(corpus, Vocabulary(), tmp_path / "data")
    assert {Path(name).name for name in contents(tmp_path / "data")} == {"train.txt"}


def test_a_source_that_changes_meanwhile_is_noticed(corpus, tmp_path, monkeypatch):
    write = corpus.write

    def write_then_touch(split, out):
        write(split, out)
        os.utime(corpus.sources["train"], ns=(1, 1))

    monkeypatch.setattr(corpus, "write", write_then_touch)
    with pytest.raises(UserError, match="changed while it was being read"):
        prepare_data(corpus, Vocabulary(), tmp_path / "data")


def test_a_data_dir_that_cannot_be_written_is_named(corpus, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data_dir=.*file cannot be written to"):
        prepare_data(corpus, Vocabulary(), tmp_path / "file")


def test_token_files_are_little_endian_uint16(corpus, tmp_path):
    data = prepare_data(corpus, Vocabulary(), tmp_path / "data")
    raw = data.valid.path.read_bytes()
    assert [int.from_bytes(raw[i : i + 2], "little") for i in range(0, 20, 2)] == data.valid.array[:10].tolist()
    assert np.asarray(data.valid.array).max() < 300
