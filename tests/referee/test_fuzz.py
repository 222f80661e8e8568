"""What the judge reads, on random inputs: a right answer or one sentence; no crash, no hang.

The long version tries thousands of inputs per test, the short one 30 or 60.
"""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import strategies as st

from lmablate.referee.metrics import MetricMissing, parse_metric
from lmablate.referee.supervise import LOG, WORK
from tests.faults.test_fuzz import JSON, attack, damaged
from tests.referee.helpers import judge, loss_of, write_script

LONG = [pytest.mark.faults, pytest.mark.timeout(3600)]
FUZZ = [pytest.param(60, id="short"), pytest.param(20_000, id="long", marks=LONG)]
COMMANDS = [pytest.param(30, id="short"), pytest.param(1_000, id="long", marks=LONG)]

# Spellings of numbers, and of what is none.
CELL = (
    st.floats().map(repr)
    | st.integers(-(10**20), 10**20).map(str)
    | st.sampled_from(["", " 1.5 ", "1_000", "٣", "1,5", "0x10", "+.5e-3", "nan", "-inf", "Infinity", "1e999", "--1"])
    | st.text(max_size=5)
)


def value_of(text: str) -> float | None:
    """Return the number that a text is for everybody, or None."""
    plain = text.strip()
    if plain.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(plain)
    if not plain.isascii() or "_" in plain:
        return None
    try:
        return float(plain)
    except ValueError:
        return None


def same(found: float, expected: float) -> bool:
    return found == expected or (math.isnan(found) and math.isnan(expected))


def read(metric: str, folder: Path) -> float | None:
    """Return what is read from a run's folder; None if it is said to be missing."""
    try:
        return parse_metric("metric", metric).read(folder)
    except MetricMissing as missing:
        sentence = str(missing)
        assert sentence
        assert len(sentence) < 600
        return None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / WORK).mkdir()
    return tmp_path


@pytest.mark.parametrize("number", FUZZ)
def test_the_last_number_of_a_log_is_read_or_missing(number: int, folder: Path) -> None:
    def check(cells: list[str]) -> None:
        cells = [" ".join(cell.split()) for cell in cells]
        text = "".join(f"step {i} loss {cell} ok\n" for i, cell in enumerate(cells))
        (folder / LOG).write_text(text, encoding="utf-8", errors="surrogatepass")
        found = read("log:loss ([^\n]*) ok$", folder)
        expected = value_of(cells[-1].rstrip(".")) if cells else None
        assert (found is None) == (expected is None)
        assert found is None or expected is None or same(found, expected)

    attack(number, check, st.lists(CELL, max_size=3))


@pytest.mark.parametrize("number", FUZZ)
def test_a_column_of_a_csv_is_read_as_it_was_written(number: int, folder: Path) -> None:
    """Whatever stands in the other column: quotes, commas, line ends."""

    def check(rows: list[tuple[str, str]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([("note", "loss"), *rows])
        (folder / WORK / "r.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
        values = [value for _, value in rows if value.strip()]
        found, expected = read("csv:r.csv:loss", folder), value_of(values[-1]) if values else None
        assert (found is None) == (expected is None)
        assert found is None or expected is None or same(found, expected)

    note = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=6)
    number_cell = CELL.filter(lambda cell: cell.isprintable())
    attack(number, check, st.lists(st.tuples(note, number_cell), max_size=4))


@pytest.mark.parametrize("number", FUZZ)
@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_any_file_is_read_or_said_to_have_no_number(kind: str, number: int, folder: Path) -> None:
    path = folder / WORK / "file"
    whole = {
        "json": b'{"a": {"loss": 3.25, "x": [1]}, "b": null}',
        "jsonl": b'{"a": {"loss": 4.5}}\n{"a.loss": 3.25}\n{"step": 2}\n',
        "csv": b'step,a.loss\n1,4.5\n2,"3.25"\n',
    }[kind]

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = read(f"{kind}:file:a.loss", folder)
        assert found is None or isinstance(found, float)

    values = JSON.map(lambda value: json.dumps({"a": {"loss": value}}).encode())
    attack(number, check, damaged(whole) | st.binary(max_size=40) | values)


@pytest.mark.parametrize("number", FUZZ)
def test_a_line_of_json_counts_as_it_was_written(number: int, folder: Path) -> None:
    """Whatever characters stand in its strings: some of them end a line for `str.splitlines`."""

    def check(rows: list[tuple[str, float]]) -> None:
        lines = "".join(json.dumps({"note": note, "loss": loss}, ensure_ascii=False) + "\n" for note, loss in rows)
        (folder / WORK / "r.jsonl").write_text(lines, encoding="utf-8", newline="")
        found = read("jsonl:r.jsonl:loss", folder)
        assert found is None if not rows else found is not None and same(found, rows[-1][1])

    note = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
    attack(number, check, st.lists(st.tuples(note, st.floats()), max_size=4))


def ends_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Type a command: it ends in a verdict, or in one sentence."""
    code = judge(*arguments)
    said = capsys.readouterr()
    assert code in (0, 1, 2, 3, 4, 5)
    if code == 2:
        assert not said.out
        assert 0 < len(said.err.splitlines()[-1]) < 900
        assert said.err.splitlines()[-1].startswith("lmablate: ")
    assert "Traceback" not in said.err
    return code


@pytest.mark.parametrize("number", COMMANDS)
def test_any_table_is_judged_or_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = b"arm,seed,loss\n" + b"".join(
        f"{arm},{seed},{3 + arm_id + seed / 7}\n".encode() for arm_id, arm in enumerate("ab") for seed in range(4)
    )
    cell = CELL.map(lambda text: text.encode("utf-8", "surrogatepass"))
    row = st.tuples(st.sampled_from([b"a", b"b", b""]), st.sampled_from([b"0", b"1", b"2", b"x"]), cell)
    rows = st.lists(row, max_size=6).map(lambda rows: b"arm,seed,loss\n" + b"\n".join(map(b",".join, rows)))

    def check(data: bytes) -> None:
        (tmp_path / "t.csv").write_bytes(data)
        ends_well(["table=t.csv", "metric=loss"], capsys)

    attack(number, check, damaged(whole) | rows | st.binary(max_size=60), deadline=None)


def changed_json(text: str) -> st.SearchStrategy[bytes]:
    """Draw copies of lines of JSON in which one value has become another, or is gone."""
    lines = [json.loads(line) for line in text.splitlines()]

    def places(value: object, path: tuple = ()) -> list[tuple]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path, *(found for key, part in inner for found in places(part, (*path, key)))]

    def change(drawn: tuple[tuple, object]) -> bytes:
        (line, *path), new = drawn
        copy = json.loads(json.dumps(lines))
        holder, key = copy, line
        for step in path:
            holder, key = holder[key], step
        if new is DELETED:
            del holder[key]
        else:
            holder[key] = new
        return "".join(json.dumps(line) + "\n" for line in copy).encode()

    return st.tuples(st.sampled_from(places(lines)[1:]), st.just(DELETED) | JSON).map(change)


DELETED = object()


@pytest.mark.parametrize("number", COMMANDS)
@pytest.mark.parametrize("which", ["comparison", "session"])
def test_a_damaged_record_of_the_judge_is_named_or_harmless(
    which: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = write_script(tmp_path, loss_of())
    if which == "comparison":
        typed = [f"a={command} a", f"b={command} b x", "metric=log:loss (.+)", "looks=2", "out=kept"]
        ends_well(typed, capsys)
    else:
        judge(f"base={command} a", "metric=log:loss (.+)", "looks=2,4", "test=t", "out=kept")
        typed = [f"proposal={command} b", "out=kept"]
        ends_well(typed, capsys)
    files = [path for path in (tmp_path / "kept").rglob("*.json*") if "work" not in path.parts]
    texts = {path: path.read_text() for path in sorted(files)}
    assert len({path.name for path in files}) >= 5

    def damage_one(path: Path) -> st.SearchStrategy[tuple[Path, bytes]]:
        text = texts[path] if path.suffix == ".jsonl" else json.dumps(json.loads(texts[path])) + "\n"
        return st.tuples(st.just(path), damaged(text.encode()) | changed_json(text))

    def check(drawn: tuple[Path, bytes]) -> None:
        for path, text in texts.items():
            path.write_text(text)
        path, data = drawn
        path.write_bytes(data)
        ends_well(typed, capsys)

    attack(number, check, st.sampled_from(sorted(texts)).flatmap(damage_one), deadline=None)
