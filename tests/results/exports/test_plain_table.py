"""The fast reader of metrics gives what the careful one gives, or leaves the file to it."""

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports import jsonl
from lmablate.results.exports.recorded import make_curves
from lmablate.results.exports.table import round_significant
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import dump_row

VALUE = st.floats(width=32) | st.integers(-(2**40), 2**40) | st.none() | st.booleans() | st.just("2026-01-01")
ROW = st.fixed_dictionaries({"step": st.integers(-1, 30)}, optional={"a": VALUE, "b/c": VALUE, "d": st.floats()})


def careful(path):
    return make_curves(((int(row.pop("step")), row) for row in read_metrics(path)), path)


def outcome(read, path):
    try:
        curves = read(path)
    except UserError as error:
        return str(error)
    return {name: (steps.tolist(), [*map(repr, values.tolist())]) for name, (steps, values) in curves.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, max_size=6), st.binary(max_size=12) | st.just(b""))
def test_both_readers_agree(tmp_path_factory, rows, tail):
    path = tmp_path_factory.mktemp("m") / "metrics.jsonl"
    path.write_bytes("".join(map(dump_row, rows)).encode() + tail)
    assert outcome(jsonl.curves, path) == outcome(careful, path)


@given(st.lists(st.floats(), max_size=50), st.integers(1, 17))
def test_rounding_is_that_of_printing(values, digits):
    got = round_significant(np.array(values, dtype=np.float64), digits).tolist()
    for value, rounded in zip(values, got, strict=True):
        printed = value if not math.isfinite(value) or value == round(value) else float(f"{value:.{digits}g}")
        assert json.dumps(rounded) == json.dumps(printed)
