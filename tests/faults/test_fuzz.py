"""Readers on random inputs: a right answer or a UserError; no crash, no hang.

The long version tries `INPUTS` inputs per test, the short one 60.
"""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmablate.config.command_line import parse_command_line
from lmablate.data.tokens import Manifest
from lmablate.errors import UserError
from lmablate.evidence.looks import LookLog, LookPlan
from lmablate.results.exports import csv_pages
from lmablate.runs.job_list import read_jobs
from lmablate.runs.metrics import dump_row, read_metrics
from lmablate.runs.run import Run
from lmablate.runs.states import collect_states
from lmablate.tokenizer import Tokenizer
from tests.tiny import group_options

INPUTS = 20_000
FUZZ = [
    pytest.param(60, id="short"),
    pytest.param(INPUTS, id="long", marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
]


def attack(
    number: int, check: Callable[..., None], *strategies: st.SearchStrategy, deadline: int | None = 5000
) -> None:
    """Call `check` on `number` inputs; each may take `deadline` milliseconds."""
    relaxed = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    new = number >= 300  # the long versions, which are not a part of `make test`
    fuzz = settings(
        max_examples=number, deadline=deadline, suppress_health_check=relaxed, database=None, derandomize=not new
    )
    fuzz(given(*strategies)(check))()


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Draw copies of `whole` with some bytes replaced, cut out or put in."""

    def damage(cuts: list[tuple[int, int, bytes]]) -> bytes:
        data = whole
        for at, length, new in cuts:
            at %= len(data) + 1
            data = data[:at] + new + data[at + length :]
        return data

    cut = st.tuples(st.integers(0, 1 << 16), st.integers(0, 9), st.binary(max_size=9))
    return st.lists(cut, min_size=1, max_size=4).map(damage)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def small_tokenizer() -> Tokenizer:
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"th", 257: b"the", 258: b"  ", 259: b"<|endoftext|>"}
    return Tokenizer(vocab, [(b"t", b"h"), (b"th", b"e"), (b" ", b" ")], ["<|endoftext|>"])


@pytest.mark.parametrize("number", FUZZ)
def test_a_tokenizer_decodes_to_the_text_that_it_encoded(number: int) -> None:
    tokenizer = small_tokenizer()
    piece = st.sampled_from(["the", " th", "<|endoftext|>", "<|endof", "\r\n", "\u2028", "\x00", "'re", "١٢"])

    def check(text: str) -> None:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text.encode("utf-8", "replace").decode() or not is_unicode(text)
        assert tokenizer.decode_bytes(ids) == text.encode("utf-8", "surrogatepass") or not is_unicode(text)
        assert all(0 <= token < tokenizer.vocab_size for token in ids)

    attack(number, check, st.lists(piece | st.text(max_size=12), max_size=6).map("".join))


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode the text: half of a surrogate pair alone is not a character."""
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@pytest.mark.parametrize("number", FUZZ)
def test_any_tokenizer_file_is_read_as_written_or_refused(number: int, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    small_tokenizer().save(path)
    whole = path.read_bytes()

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            tokenizer = Tokenizer.from_files(path)
        except UserError:
            return
        assert tokenizer.decode(tokenizer.encode("the thesis")) == "the thesis"

    attack(number, check, damaged(whole) | st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))


@pytest.mark.parametrize("number", FUZZ)
def test_any_manifest_is_read_as_written_or_refused(number: int, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    digest = "0" * 64
    written = Manifest("train.bin", digest, 5, 20, digest, digest, {"corpus": "text"})
    written.save(path)
    whole = json.loads(path.read_bytes())

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            manifest = Manifest.load(path)
        except UserError:
            return
        assert (tmp_path / manifest.file).parent == tmp_path
        assert "/" not in manifest.file
        assert 0 <= manifest.tokens <= 2**53

    changed = st.tuples(st.sampled_from(sorted(whole)), JSON | st.sampled_from(["../x", "/etc/passwd", ".."])).map(
        lambda pair: json.dumps(whole | {pair[0]: pair[1]}).encode()
    )
    attack(number, check, damaged(json.dumps(whole).encode()) | changed)


@pytest.mark.parametrize("number", FUZZ)
def test_metrics_are_read_as_written_without_a_torn_last_line(number: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    row = st.dictionaries(st.text(max_size=6), st.floats() | st.integers(-(2**60), 2**60), max_size=4)

    def check(rows: list[dict], torn: int) -> None:
        rows = [{**row, "step": step} for step, row in enumerate(rows)]
        whole = "".join(map(dump_row, rows)).encode()
        cut = len(whole) - torn % (len(whole) + 1)
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        got = read_metrics(path)
        # If only the line break is lost, the row is whole and counts.
        assert len(got) in (complete, complete + 1)
        assert [dump_row(r) for r in got] == [dump_row(r) for r in rows[: len(got)]]

    attack(number, check, st.lists(row, max_size=5), st.integers(0, 400))


@pytest.mark.parametrize("number", FUZZ)
def test_any_metrics_file_is_read_or_refused(number: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = "".join(dump_row({"step": step, "train/loss": 1 / (step + 1)}) for step in range(4)).encode()

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            rows = read_metrics(path)
        except UserError:
            return
        assert all(type(row["step"]) is int for row in rows)

    attack(number, check, damaged(whole) | st.binary(max_size=40) | st.lists(JSON, max_size=3).map(lines_of))


def read_jobs_of(path: Path) -> None:
    for job in read_jobs(path.parents[3]):
        assert type(job.number) is int


def read_looks_of(path: Path) -> None:
    log = LookLog(path, LookPlan((4, 8)))
    assert all(0 <= p <= 1 for p in log.p("a").values())


def read_status_of(path: Path) -> None:
    if path.name != "status.json":
        path.with_name("status.json").write_text('{"state": "failed"}')
    (state,) = collect_states([(Run(path.parent), "arm", "seed=0")], path.parents[1])
    assert type(state.heartbeat) in (int, float)


# Records that lmablate keeps: where, an intact one, and its reader.
RECORDS = [
    pytest.param(
        ".jobs/day/time/jobs.jsonl",
        b'{"number": 0, "job_id": "7", "launcher": "L", "overrides": ["a=1"], "folder": "f", "log": "l",'
        b' "submitted": "now"}\n' * 2,
        read_jobs_of,
        id="jobs",
    ),
    pytest.param(
        "looks.jsonl",
        b'{"looks": [4, 8]}\n{"claim": "a", "n": 4, "p": {"refute": 0.5, "support": 0.5}}\n',
        read_looks_of,
        id="looks",
    ),
    pytest.param(
        "a-run/status.json",
        b'{"state": "running", "heartbeat": 1.5, "host": "h", "pid": 7, "slurm_job_id": null, "step": 3,'
        b' "max_steps": 9, "seconds_left": 2.5}\n',
        read_status_of,
        id="status",
    ),
    pytest.param("a-run/status.rank1.json", b'{"state": "failed", "error": "e"}\n', read_status_of, id="other rank"),
]


@pytest.mark.parametrize("number", FUZZ)
@pytest.mark.parametrize(("place", "whole", "read"), RECORDS)
def test_any_record_is_read_or_refused(
    place: str, whole: bytes, read: Callable[[Path], None], number: int, tmp_path: Path
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            read(path)

    first = json.loads(whole.splitlines()[0])
    changed = st.tuples(st.sampled_from(sorted(first)), JSON).map(
        lambda pair: lines_of([first | {pair[0]: pair[1]}]) + b"\n"
    )
    attack(number, check, damaged(whole) | changed | st.lists(JSON, max_size=3).map(lines_of))


def lines_of(values: list) -> bytes:
    return "\n".join(map(json.dumps, values)).encode()


@pytest.mark.parametrize("number", FUZZ)
def test_any_csv_of_wandbs_page_is_read_as_it_stands_or_refused(number: int, tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    cell = st.floats().map(repr) | st.integers().map(str) | st.sampled_from(["", "1_000", " 1", "nan", "abc", '"'])
    tables = st.lists(st.tuples(st.integers(0, 99), cell, cell), max_size=4).map(
        lambda rows: "\n".join(
            ["Step,a - train/loss,b - c - val/loss", *(f"{step},{x},{y}" for step, x, y in rows)]
        ).encode()
    )
    whole = (
        b'"Step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX"\n"0","1.5","1.5","1.5"\n"1","2","2","2"\n'
    )

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read = list(csv_pages.read_columns(path))
        except UserError:
            return
        text = data.decode("utf-8-sig")
        for run, metric, points in read:
            assert f"{run} - {metric}" in text.replace('""', '"')
            for step, value in points.items():
                assert type(step) is int
                assert math.isnan(value) or any(number_in(field, value) for field in fields_of(text))

    attack(number, check, tables | damaged(whole) | st.binary(max_size=60))


def fields_of(text: str) -> list[str]:
    return [field.strip('"') for line in text.splitlines() for field in line.split(",")]


def number_in(field: str, value: float) -> bool:
    try:
        return float(field) == value
    except ValueError:
        return False


@example(["model/tying=true"])
@given(st.lists(st.text(max_size=20), max_size=3))
@settings(max_examples=200, deadline=None, database=None)
def test_reading_keeps_the_number_and_order_of_overrides(arguments: list[str]) -> None:
    try:
        read = parse_command_line(arguments).overrides
    except UserError:
        return
    assert [override.split("=")[0] for override in read] == [
        a.split("=")[0] for a in arguments if a not in ("-m", "--")
    ]


@pytest.mark.parametrize("number", FUZZ)
def test_hydra_reads_a_quoted_override_like_the_original(number: int) -> None:
    """The only difference is that values that Hydra does not take for strings become strings."""
    parser = OverridesParser.create()
    key = st.sampled_from(["model/tying", "+model/pos", "model/tying@x", "name", "~model/act"])
    word = st.sampled_from(["true", "False", "on", "1", "1.5", "null", "1e3", "rope", '"true"', "'on'", "nan", "-inf"])
    choice = word | st.sampled_from([*group_options("pos"), "a b", "range(3)", "{a:b}", "glob(*)", "${x}", "a\\,b", ""])
    value = st.lists(choice, min_size=1, max_size=3).map(",".join) | st.text(max_size=8)

    def check(key: str, value: str) -> None:
        typed = f"{key}={value}"
        try:
            before = parser.parse_override(typed)
        except HydraException:
            return  # refused, or text: tests/config/test_command_line.py
        try:
            (quoted,) = parse_command_line([typed]).overrides
        except UserError:
            of_a_group = before.key_or_group.startswith("model/") and not before.is_delete()
            assert (
                isinstance(before.value(), list) or not before.key_or_group or (of_a_group and before.value() is None)
            )
            return
        after = parser.parse_override(quoted)
        assert (after.key_or_group, after.type, after.package) == (before.key_or_group, before.type, before.package)
        assert after.value_type == before.value_type
        assert as_text(after) == as_text(before)

    attack(number, check, key, value)


def as_text(override: Override) -> list[str]:
    """Return the values of an override as text in lower case, numbers in one notation."""
    value: Any = override.value()
    choices = value.list if hasattr(value, "list") else [value]
    return [value_as_text(choice) for choice in choices]


def value_as_text(value: Any) -> str:
    if hasattr(value, "text"):
        value = value.text
    if value is None:
        return "null"
    try:
        return repr(float(value)) if not isinstance(value, bool | list | dict) else str(value).lower()
    except (TypeError, ValueError):
        return str(value).lower()
