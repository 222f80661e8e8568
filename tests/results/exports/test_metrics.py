"""Measurements read metric by metric are those of the whole table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports import Metrics, metrics

RUNS = ["b", "a", "c"]
POINTS = st.dictionaries(
    st.tuples(st.sampled_from(RUNS), st.sampled_from(["x", "y"]), st.integers(0, 9)),
    st.floats(allow_nan=False),
    min_size=1,
    max_size=40,
)


def table(points: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    keys = pd.DataFrame(list(points), columns=["run", "metric", "step"])
    return keys.assign(seed=0, value=list(points.values()))


@given(POINTS, st.sets(st.sampled_from([*RUNS, "unknown"])))
def test_wide_is_the_pivoted_table(points: dict, runs: set[str]) -> None:
    whole = table(points)
    wide = Metrics.from_frame(whole).wide("x", runs)
    chosen = whole[(whole["metric"] == "x") & whole["run"].isin(list(runs))]
    expected = chosen.pivot(index="step", columns="run", values="value")
    assert wide.index.tolist() == expected.index.tolist()
    assert wide.columns.tolist() == expected.columns.tolist()
    np.testing.assert_array_equal(wide, expected)


@given(POINTS)
def test_names_are_sorted_and_the_last_step_is_the_largest(points: dict) -> None:
    whole = table(points)
    read = Metrics.from_frame(whole)
    assert read.names == sorted(whole["metric"].unique())
    assert read.last_step == whole["step"].max()


@given(st.lists(st.sampled_from("xy"), max_size=8), st.integers(0, 12))
def test_no_more_rows_are_held_than_allowed(asked: list[str], most: int) -> None:
    whole = table({(run, metric, step): 0.0 for run in "ab" for metric in "xy" for step in range(3)})
    read = Metrics.from_frame(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "HELD_ROWS", most)
        for metric in asked:
            assert len(read.rows(metric)) == 6
            assert sum(map(len, read._held.values())) <= max(most, 6)


def test_a_file_in_several_row_groups_is_read_as_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = {(f"r{run}", metric, step): rng.random() for run in range(7) for metric in "xyz" for step in range(20)}
    whole = table(points)
    whole.to_parquet(tmp_path / "e.parquet", row_group_size=50)
    stored = Metrics.from_parquet(tmp_path / "e.parquet")
    pd.testing.assert_frame_equal(stored.table, whole, check_dtype=False)
    for metric in "xyz":
        rows = stored.rows(metric).astype({"run": str})
        expected = whole.loc[whole["metric"] == metric, ["run", "step", "value"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, expected, check_dtype=False)


def test_damage_inside_a_file_ends_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    table({("r", "x", step): float(step) for step in range(10_000)}).to_parquet(path)
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(UserError, match="the exports cannot be read"):
        Metrics.from_parquet(path).rows("x")
