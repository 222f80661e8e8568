"""Whatever text a person writes is read by one rule: UTF-8, a byte order mark dropped, every line end a line feed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lmablate.data.corpora import TextFiles
from lmablate.errors import UserError
from lmablate.evidence import load_claim
from lmablate.files import read_json, read_lines, read_text, read_yaml
from lmablate.generate import read_prompts
from lmablate.inference.load import read_run_config
from lmablate.results.exports.csv_pages import read_csv_pages
from lmablate.results.exports.jsonl import read_curves
from lmablate.results.exports.recorded import FACTS
from lmablate.results.exports.stored import load_exported
from lmablate.results.report.starts import load_audit
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.byte_alphabet import to_printable
from tests.results.exports.helpers import points_of

CLAIM = """\
id: C1
text: "é ends\\u2028lower"
reported: r
question: q
experiment: e
metric: m
all_of:
  - predicate: less_than
    arm: {arm: é}
    constant: 1e-3
"""
RUNS = (
    f"run,experiment,seed,variant,state,{','.join(FACTS)},val/loss\n"
    f"é-s1,x,1,é,done{',' * len(FACTS)},2.5\n"
    f"b,x,2,b,done{',' * len(FACTS)},2\n"
)


def read_corpus(path: Path) -> Any:
    out = path.with_name("written")
    with out.open("wb") as file:
        TextFiles(str(path), str(path)).write("train", file)
    return out.read_bytes()


def read_page(path: Path) -> Any:
    path.rename(path.with_name("page.csv"))
    return [(run.id, points_of(run.read_curves())) for run in read_csv_pages(path.parent, path.parent, "x")]


def read_exported(path: Path) -> Any:
    path.rename(path.with_name("x.runs.csv"))
    table = pd.DataFrame({"run": ["b"], "variant": ["b"], "step": [0], "metric": ["m"], "value": [0.0]})
    table.to_parquet(path.with_name("x.parquet"))
    return load_exported(path.parent, "x").runs.to_csv()


def read_audit(path: Path) -> Any:
    path.rename(path.with_name("x.audit.json"))
    return load_audit(path.parent, "x")


def read_gpt2(path: Path) -> Any:
    tokens = [*(to_printable(bytes([i])) for i in range(256)), "Ġa"]
    path.with_name("vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    return Tokenizer.from_files(path.with_name("vocab.json"), path).merges


# What is read, and a text of this kind with a character of two bytes.
READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (read_text, "one\n\ntwo é\n"),
    "lines": (read_lines, "one\n\ntwo\u2028é\x0c\x85\n"),
    "corpus": (read_corpus, "def é():\n    pass\n<|endoftext|>two\x0c\u2028\n"),
    "prompts": (read_prompts, "def é\n\nfor\u2028x\n"),
    "claim": (load_claim, CLAIM),
    "yaml": (read_yaml, "# é\na: [b,\n  c]\n"),
    "csv page": (read_page, 'Step,é-s1 - train/loss\n0,1.5\n1,""\n2,2\n'),
    "runs of an export": (read_exported, RUNS),
    "merges": (read_gpt2, "#version: 0.2\nĠ a\n"),
    "config of a run": (read_run_config, "model: é\ntokenizer: {a: 1}\nseed: 3\n"),
    "json": (read_json, '{"é":\n [1,\n 2]}\n'),
    "audit": (read_audit, '{"warnings":\n ["é"]}\n'),
    "metrics": (lambda path: points_of(read_curves(path)), '{"step":0,"é":1.5}\n{"step":1,"é":2}\n'),
}
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "carriage return and line feed": lambda text: text.replace(b"\n", b"\r\n"),
    "mark and carriage returns": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
    "carriage return alone": lambda text: text.replace(b"\n", b"\r"),
    "mixed line ends": lambda text: text.replace(b"\n", b"\r\n", 1),
}
# Files of metrics are written by us alone, a line at a time; no editor of today ends lines by a carriage return.
NOT_FOR = {("metrics", "carriage return alone")}


def read(name: str, folder: Path, content: bytes) -> Any:
    folder.mkdir()
    (folder / "file").write_bytes(content)
    return READERS[name][0](folder / "file")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", READERS)
def test_the_form_of_a_text_does_not_matter(tmp_path: Path, name: str, form: str) -> None:
    if (name, form) in NOT_FOR:
        return
    plain = READERS[name][1].encode()
    expected = read(name, tmp_path / "plain", plain)
    assert expected
    assert read(name, tmp_path / "other", FORMS[form](plain)) == expected


# Bytes that are not UTF-8, and the offset of the first that is not.
BAD: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], int]]] = {
    "a stray byte at the start": (lambda text: b"\xff" + text, lambda text: 0),
    "a stray byte after a mark": (lambda text: b"\xef\xbb\xbf\xfe" + text, lambda text: 3),
    "the encoding of Latin-1": (
        lambda text: text.replace("é".encode(), b"\xe9").replace("Ġ".encode(), b"\xe9"),
        lambda text: min(i for i in (text.find("é".encode()), text.find("Ġ".encode())) if i >= 0),
    ),
    "the encoding of UTF-16": (lambda text: text.decode().encode("utf-16"), lambda text: 0),
    "a character cut off at the end": (lambda text: text + b"\xe2\x82", lambda text: len(text)),
    "a surrogate": (lambda text: text + b"\xed\xa0\x80", lambda text: len(text)),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", [name for name in READERS if name not in ("json", "audit", "metrics")])
def test_bytes_that_are_no_text_are_named_by_file_and_offset(tmp_path: Path, name: str, bad: str) -> None:
    plain = READERS[name][1].encode()
    spoil, offset = BAD[bad]
    with pytest.raises(UserError, match=rf"is not UTF-8: byte {offset(plain)} does not belong") as error:
        read(name, tmp_path / "x", spoil(plain))
    assert str(tmp_path / "x") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [name for name in BAD if name not in ("the encoding of UTF-16", "a surrogate")])
@pytest.mark.parametrize("name", ["audit", "metrics"])
def test_damaged_json_is_refused(tmp_path: Path, name: str, bad: str) -> None:
    spoiled = BAD[bad][0](READERS[name][1].encode()) + b"\n"
    with pytest.raises(UserError):
        read(name, tmp_path / "x", spoiled)
