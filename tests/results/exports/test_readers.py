"""Garbage in a reader ends in one UserError, never in another exception and never in other numbers."""

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports import csv_pages, jsonl
from lmablate.results.exports.recorded import make_curves

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**6), 10**6)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "val/loss", "b - c"]), NUMBERS), max_size=8)


def as_lines(rows: list[dict]) -> bytes:
    return b"".join(json.dumps({"step": i, **row}).encode() + b"\n" for i, row in enumerate(rows))


def points(curves: dict) -> dict[tuple[str, int], float]:
    return {(m, s): v for m, (steps, values) in curves.items() for s, v in zip(steps, values, strict=True)}


@quick
@given(ROWS)
def test_jsonl_reads_every_number(tmp_path: Path, rows: list[dict]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(as_lines(rows))
    assert points(jsonl.curves(path)) == {(m, i): float(v) for i, row in enumerate(rows) for m, v in row.items()}


@quick
@given(ROWS, st.integers(0, 400))
def test_a_torn_file_loses_its_last_row_at_most(tmp_path: Path, rows: list[dict], cut: int) -> None:
    path, data = tmp_path / "metrics.jsonl", as_lines(rows)
    path.write_bytes(data[: max(0, len(data) - cut)])
    whole = {(m, i): float(v) for i, row in enumerate(rows) for m, v in row.items()}
    read = points(jsonl.curves(path))
    assert read.items() <= whole.items()
    complete = data[: max(0, len(data) - cut)].count(b"\n")
    assert {key for key in whole if key[1] < complete} <= read.keys()


@quick
@given(st.binary(max_size=200))
def test_jsonl_survives_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(data)
    with suppress(UserError):
        jsonl.curves(path)


@pytest.mark.parametrize("value", ['"7.1"', "true", "[1]", "{}", "1" + "0" * 400])
def test_jsonl_refuses_a_value_that_is_no_number(tmp_path: Path, value: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 3, "val/loss": {value}}}\n{{"step": 4}}\n')
    with pytest.raises(UserError, match="val/loss at step 3 is no number"):
        jsonl.curves(path)


def test_missing_values_stay_missing_and_the_last_of_a_step_counts() -> None:
    rows = [(0, {"a": None}), (2, {"a": 1.0}), (1, {"a": math.nan}), (2, {"a": 3.0})]
    steps, values = make_curves(iter(rows), Path("x"))["a"]
    assert steps.tolist() == [1, 2]
    assert math.isnan(values[0])
    assert values[1] == 3.0


@pytest.mark.parametrize("step", [-1, 2**60])
def test_steps_out_of_range_are_refused(step: int) -> None:
    with pytest.raises(UserError, match="out of range"):
        make_curves(iter([(step, {"a": 1.0})]), Path("x"))


@quick
@given(st.binary(max_size=200) | st.text(alphabet='Step,run - a"01.\n\r_NaN', max_size=80).map(str.encode))
def test_csv_survives_any_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "page.csv").write_bytes(data)
    with suppress(UserError):
        csv_pages.runs(tmp_path, tmp_path, "x")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("Relative Time,r - a\n0,1\n", "save the chart with Step"),
        ("Step,r - a\n0,1,2\n", "line 2 has 3 cells, the header has 2"),
        ("Step,r - a\n0\n", "line 2 has 1 cells"),
        ("Step,r - a,r - a\n0,1,2\n", "names a column twice"),
        ("Step,r - a\n0,1_000\n", "is no number"),
        ('Step,r - a\n0,"1,5"\n', "is no number"),
        ("Step,r - a\n0.5,1\n", "no whole number"),
        ("Step,r - a\nnan,1\n", "no whole number"),
        ('Step,r - a\n0,"1\n', "is no CSV file"),
    ],
)
def test_csv_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "page.csv").write_text(text)
    with pytest.raises(UserError, match=complaint):
        csv_pages.runs(tmp_path, tmp_path, "x")


def test_two_csv_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Step,r - a\n0,1\n1,2\n")
    (tmp_path / "b.csv").write_text("Step,r - a\n1,2\n2,3\n")
    (run,) = csv_pages.runs(tmp_path, tmp_path, "x")
    assert points(run.curves()) == {("a", 0): 1, ("a", 1): 2, ("a", 2): 3}
    (tmp_path / "c.csv").write_text("Step,r - a\n1,2.5\n")
    with pytest.raises(UserError, match="another file says"):
        csv_pages.runs(tmp_path, tmp_path, "x")


def test_averages_are_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("Step,r - a,r - a__MIN,r - a__MAX\n0,1,1,1\n9,2,1,3\n")
    csv_pages.runs(tmp_path, tmp_path, "x")
    assert "1 values of 'r - a' are averages" in caplog.text
