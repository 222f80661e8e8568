"""Corpora: the text that they yield, how it is split and cut, and the messages about bad files."""

import ast
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.data import corpora
from lmablate.data.corpora import END_OF_TEXT, PyStdlib, TextFiles, head, normalised
from lmablate.errors import UserError
from lmablate.files.text import BLOCK_BYTES

SEPARATOR = END_OF_TEXT.encode()


def text_of(corpus: corpora.Corpus, split: corpora.Split) -> bytes:
    out = io.BytesIO()
    corpus.write(split, out)
    return out.getvalue()


def documents(corpus: corpora.Corpus, split: corpora.Split) -> list[str]:
    return text_of(corpus, split).decode().split(END_OF_TEXT)[:-1]


class Here(PyStdlib):
    """The standard library's rules, applied to a folder of the test's own."""

    def __init__(self, root: Path, **options: Any):
        super().__init__(**options)
        self.root = root


def test_the_standard_library_is_megabytes_of_python():
    train, valid = documents(PyStdlib(), "train"), documents(PyStdlib(), "valid")
    assert sum(map(len, train)) > 5e6
    assert sum(map(len, valid)) > 2e5
    assert not set(train) & set(valid)
    for source in (*train[::50], *valid[::10]):
        assert ast.parse(source).body


def test_writing_twice_gives_the_same_bytes():
    assert text_of(PyStdlib(), "valid") == text_of(PyStdlib(), "valid")


def test_source_files_are_decoded_by_their_own_declaration(tmp_path):
    (tmp_path / "declared.py").write_bytes("# -*- coding: latin-1 -*-\r\nname = 'é'\r\n".encode("latin-1"))
    (tmp_path / "marked.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    (tmp_path / "undecodable.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "empty.py").write_bytes(b"")
    corpus = Here(tmp_path, valid_fraction=1e-9)
    assert documents(corpus, "train") == ["# -*- coding: latin-1 -*-\nname = 'é'\n", "x = 1\n"]


def test_tests_packages_and_generated_files_are_left_out(tmp_path):
    for path in (
        "a/b.py",
        "test/c.py",
        "a/tests/d.py",
        "site-packages/e.py",
        "_sysconfigdata_x.py",
        "a/f.txt",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x = 1\n")
    assert documents(Here(tmp_path, valid_fraction=1e-9), "train") == ["x = 1\n"]


def test_a_new_file_moves_no_other_file_to_the_other_split(tmp_path):
    for i in range(40):
        (tmp_path / f"m{i:02}.py").write_text(f"x = {i}\n")
    before = documents(Here(tmp_path, valid_fraction=0.3), "valid")
    (tmp_path / "a_new_one.py").write_text("x = 'new'\n")
    after = documents(Here(tmp_path, valid_fraction=0.3), "valid")
    assert 3 < len(before) < 25
    assert [text for text in after if "new" not in text] == before


def test_identity_follows_what_the_text_depends_on(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    base = Here(tmp_path).identity()
    assert Here(tmp_path).identity() == base
    assert Here(tmp_path, valid_fraction=0.1).identity() != base
    assert Here(tmp_path, max_bytes=10).identity() != base
    (tmp_path / "b.py").write_text("x = 1\n")
    assert Here(tmp_path).identity() != base


@pytest.mark.parametrize("fraction", [0, 1, -0.5, "abc", True, None])
def test_bad_valid_fraction_is_named(fraction):
    with pytest.raises(UserError, match=r"data\.valid_fraction="):
        PyStdlib(valid_fraction=fraction)


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, "1e6", True])
def test_bad_max_bytes_is_named(max_bytes):
    with pytest.raises(UserError, match=r"data\.max_bytes="):
        PyStdlib(max_bytes=max_bytes)


def test_max_bytes_keeps_whole_documents():
    whole, cut = text_of(PyStdlib(), "valid"), text_of(PyStdlib(max_bytes=300_000), "valid")
    assert 100_000 < len(cut) <= 300_000
    assert whole.startswith(cut)
    assert cut.endswith(SEPARATOR)


def test_text_files_are_normalised(tmp_path):
    train, valid = tmp_path / "t.txt", tmp_path / "v.txt"
    train.write_bytes("\ufeffone\r\ntwo\rthree\n<|endoftext|>é".encode())
    valid.write_bytes(b"v")
    corpus = TextFiles(str(train), str(valid))
    assert text_of(corpus, "train").decode() == "one\ntwo\nthree\n<|endoftext|>é"
    assert text_of(corpus, "valid") == b"v"


def test_text_identity_follows_content(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("one")
    before = TextFiles(str(file), str(file)).identity()
    file.write_text("other")
    assert TextFiles(str(file), str(file)).identity() != before


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("content", [None, b""])
def test_missing_and_empty_files_are_named(tmp_path, split, content):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("text")
    if content is not None:
        bad.write_bytes(content)
    paths = {"train": str(good), "valid": str(good)} | {split: str(bad)}
    with pytest.raises(UserError, match=rf"data\.{split}=.*bad\.txt is (not a file|empty)"):
        TextFiles(paths["train"], paths["valid"])


def test_files_not_given_and_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.train is missing"):
        TextFiles(None, None)
    with pytest.raises(UserError, match=r"data\.train=.* is not a file"):
        TextFiles(str(tmp_path), str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_named(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("text")
    file.chmod(0)
    with pytest.raises(UserError, match=r"data\.train=.*may not be read"):
        TextFiles(str(file), str(file))


def test_a_byte_that_is_not_utf8_is_named_by_its_offset(tmp_path):
    file = tmp_path / "t.txt"
    offset = 3 * BLOCK_BYTES + 17
    file.write_bytes(b"a" * offset + b"\xff" + b"a" * 100)
    with pytest.raises(UserError, match=rf"data\.train=.*t\.txt is not UTF-8: byte {offset} "):
        text_of(TextFiles(str(file), str(file)), "train")


@pytest.fixture(scope="module", params=[1, 2, 3, 7, 1 << 20])
def block_bytes(request):
    patch = pytest.MonkeyPatch()
    patch.setattr("lmablate.files.text.BLOCK_BYTES", request.param)
    yield request.param
    patch.undo()


@given(data=st.text("a\r\n\ufeffé€😀<", max_size=30).map(str.encode) | st.binary(max_size=12))
def test_normalising_equals_decoding_at_once(block_bytes, data):
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError as error:
        with pytest.raises(UserError, match=rf"byte {error.start} "):
            list(normalised(io.BytesIO(data), "data.train=x"))
        return
    expected = decoded.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert b"".join(normalised(io.BytesIO(data), "data.train=x")).decode() == expected


@given(
    documents=st.lists(st.text("a€<|", max_size=9), max_size=6),
    ends=st.booleans(),
    block=st.integers(1, 40),
    room=st.integers(1, 150),
)
def test_head_is_the_longest_prefix_of_whole_documents(documents, ends, block, room):
    text = END_OF_TEXT.join(documents).encode() + SEPARATOR * ends
    blocks = [text[i : i + block] for i in range(0, len(text), block)]
    cut = b"".join(head(blocks, room))
    boundaries = [i + len(SEPARATOR) for i in range(len(text)) if text.startswith(SEPARATOR, i)] + [len(text)]
    fitting = max((end for end in boundaries if end <= room), default=0)
    assert cut == (text[:fitting] if fitting else text[:room].decode(errors="ignore").encode())
    assert b"".join(head(blocks, None)) == text
