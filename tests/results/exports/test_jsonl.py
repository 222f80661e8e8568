"""metrics.jsonl is read in full; garbage in it ends in one UserError, never in other numbers.

The fast reader gives the same curves as the careful one, or leaves the file to it.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports.jsonl import read_curves
from lmablate.results.exports.recorded import Curves, make_curves
from lmablate.runs.metrics import dump_row, read_metrics
from tests.results.exports.helpers import points_of

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**6), 10**6)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "val/loss", "b - c"]), NUMBERS), max_size=8)

VALUE = st.floats(width=32) | st.integers(-(2**40), 2**40) | st.none() | st.booleans() | st.just("2026-01-01")
ANY_ROW = st.fixed_dictionaries({"step": st.integers(-1, 30)}, optional={"a": VALUE, "b/c": VALUE, "d": st.floats()})


def as_lines(rows: list[dict]) -> bytes:
    return b"".join(json.dumps({"step": i, **row}).encode() + b"\n" for i, row in enumerate(rows))


@quick
@given(ROWS)
def test_every_number_is_read(tmp_path: Path, rows: list[dict]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(as_lines(rows))
    assert points_of(read_curves(path)) == {(m, i): float(v) for i, row in enumerate(rows) for m, v in row.items()}


@quick
@given(ROWS, st.integers(0, 400))
def test_a_torn_file_loses_its_last_row_at_most(tmp_path: Path, rows: list[dict], cut: int) -> None:
    path, data = tmp_path / "metrics.jsonl", as_lines(rows)
    path.write_bytes(data[: max(0, len(data) - cut)])
    whole = {(m, i): float(v) for i, row in enumerate(rows) for m, v in row.items()}
    read = points_of(read_curves(path))
    assert read.items() <= whole.items()
    complete = data[: max(0, len(data) - cut)].count(b"\n")
    assert {key for key in whole if key[1] < complete} <= read.keys()


@quick
@given(st.binary(max_size=200))
def test_any_bytes_give_curves_or_a_user_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(data)
    with suppress(UserError):
        read_curves(path)


@pytest.mark.parametrize("value", ['"7.1"', "true", "[1]", "{}", "1" + "0" * 400])
def test_a_value_that_is_not_a_number_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 3, "val/loss": {value}}}\n{{"step": 4}}\n')
    with pytest.raises(UserError, match="val/loss at step 3 is not a number"):
        read_curves(path)


def read_carefully(path: Path) -> Curves:
    return make_curves(((int(row.pop("step")), row) for row in read_metrics(path)), path)


def outcome(read: Callable[[Path], Curves], path: Path) -> str | dict:
    try:
        curves = read(path)
    except UserError as error:
        return str(error)
    return {name: (steps.tolist(), [*map(repr, values.tolist())]) for name, (steps, values) in curves.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY_ROW, max_size=6), st.binary(max_size=12) | st.just(b""))
def test_the_fast_and_the_careful_reader_agree(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict], tail: bytes
) -> None:
    path = tmp_path_factory.mktemp("m") / "metrics.jsonl"
    path.write_bytes("".join(map(dump_row, rows)).encode() + tail)
    assert outcome(read_curves, path) == outcome(read_carefully, path)
