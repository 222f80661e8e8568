"""An export writes every measurement, thinned and rounded as asked, and refuses unknown experiments."""

import gzip
import json
import math
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports import Thinning, load_exported, read_runs, write_tables
from lmablate.results.exports.recorded import Curves
from lmablate.results.exports.table import EVERY_STEP, round_significant
from lmablate.results.frames import select_rows
from tests.results.exports.helpers import make_config, make_run, training_rows

ROOT = Path(__file__).resolve().parents[3]


def test_parquet_and_csv_hold_every_measurement(runs_dir: Path, tmp_path: Path) -> None:
    write_tables(read_runs("metrics", runs_dir), "tying", tmp_path / "out", Thinning(digits=17))
    data = load_exported(tmp_path / "out", "tying")
    assert [*data.table.columns] == ["experiment", "run", "seed", "model/tying", "step", "metric", "value"]
    text = pd.read_csv(tmp_path / "out" / "tying.csv", dtype={"model/tying": str})
    pd.testing.assert_frame_equal(data.table, text, check_dtype=False)
    done = data.runs.loc[data.runs["state"] == "done", "run"]
    expected = {(row["step"], m): v for row in training_rows(1) for m, v in row.items() if m != "step"}
    run = data.table[(data.table["run"].isin(done)) & (data.table["model/tying"] == "false")]
    assert {(s, m): v for s, m, v in zip(run["step"], run["metric"], run["value"], strict=True)} == expected


def test_writing_again_gives_the_same_bytes(runs_dir: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> list[bytes]:
        paths = write_tables(read_runs("metrics", runs_dir), "tying", folder, Thinning(), "gzip")
        return [path.read_bytes() for path in paths]

    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_gzip_holds_the_plain_csv_and_replaces_it(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read_runs("metrics", runs_dir)
    write_tables(recorded, "tying", tmp_path / "out", Thinning(), "plain")
    plain = (tmp_path / "out" / "tying.csv").read_bytes()
    write_tables(recorded, "tying", tmp_path / "out", Thinning(), "gzip")
    assert gzip.decompress((tmp_path / "out" / "tying.csv.gz").read_bytes()) == plain
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tying.parquet", "tying.csv.gz", "tying.runs.csv"}


def test_a_source_that_fails_leaves_the_old_tables_and_no_part_file(runs_dir: Path, tmp_path: Path) -> None:
    def fail() -> Curves:
        raise UserError("damaged")

    recorded = read_runs("metrics", runs_dir)
    paths = write_tables(recorded, "tying", tmp_path / "out", Thinning())
    before = {path: path.read_bytes() for path in paths}
    damaged = [*recorded[:-1], replace(recorded[-1], read_curves=fail)]
    with pytest.raises(UserError, match="damaged"):
        write_tables(damaged, "tying", tmp_path / "out", Thinning(every=50))
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_thinning_keeps_evaluations_and_the_metrics_of_every_step(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read_runs("metrics", runs_dir)
    write_tables(recorded, "tying", tmp_path / "all", Thinning())
    write_tables(recorded, "tying", tmp_path / "thin", Thinning(every=50))
    whole, thin = (load_exported(tmp_path / name, "tying").table for name in ("all", "thin"))
    kept = whole["metric"].isin([*EVERY_STEP, "val/loss", "val/bpb"])
    pd.testing.assert_frame_equal(
        select_rows(whole, kept).reset_index(drop=True),
        select_rows(thin, thin["metric"].isin(whole.loc[kept, "metric"].unique())).reset_index(drop=True),
    )
    speeds = thin[(thin["metric"] == "tokens_per_s") & (thin["model/tying"] == "false")]
    assert speeds["step"].tolist() == sorted({*range(0, 200, 20), *range(0, 200, 50)})


def test_metrics_of_every_step_may_be_thinned_too(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read_runs("metrics", runs_dir)
    write_tables(recorded, "tying", tmp_path / "all", Thinning())
    write_tables(recorded, "tying", tmp_path / "thin", Thinning(step_every=50))
    whole, thin = (load_exported(tmp_path / name, "tying").table for name in ("all", "thin"))
    evaluated = whole.loc[whole["metric"] == "val/loss", ["run", "step"]].assign(evaluated=True)
    marked = whole.merge(evaluated, how="left", on=["run", "step"])
    last = whole.groupby("run")["step"].transform("max")
    kept = (
        ~whole["metric"].isin([*EVERY_STEP])
        | (whole["step"] % 50 == 0)
        | marked["evaluated"].notna()
        | (whole["step"] == last)
    )
    assert not np.all(kept)
    pd.testing.assert_frame_equal(thin, select_rows(whole, kept).reset_index(drop=True))


def test_metrics_of_every_step_may_have_fewer_digits(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read_runs("metrics", runs_dir)
    write_tables(recorded, "tying", tmp_path / "all", Thinning(digits=17))
    write_tables(recorded, "tying", tmp_path / "short", Thinning(digits=17, step_digits=2))
    whole, short = (load_exported(tmp_path / name, "tying").table for name in ("all", "short"))
    rounded = whole["metric"].isin([*EVERY_STEP])
    values = whole["value"].to_numpy(copy=True)
    values[rounded] = round_significant(values[rounded], 2)
    assert (values != whole["value"]).any()
    pd.testing.assert_frame_equal(short, whole.assign(value=values))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)))
def test_rounding_is_to_significant_digits(values: list[float]) -> None:
    rounded = round_significant(np.array(values), 6)
    for value, result in zip(values, rounded.tolist(), strict=True):
        if value == int(value):
            assert result == value
        else:
            assert abs(Decimal(result) - Decimal(value)) <= Decimal("5.0001e-6") * abs(Decimal(value))
            assert len(Decimal(repr(result)).normalize().as_tuple().digits) <= 6


@given(st.lists(st.floats(), max_size=50), st.integers(1, 17))
def test_rounding_is_that_of_printing(values: list[float], digits: int) -> None:
    results = round_significant(np.array(values, dtype=np.float64), digits).tolist()
    for value, rounded in zip(values, results, strict=True):
        printed = value if not math.isfinite(value) or value == round(value) else float(f"{value:.{digits}g}")
        assert json.dumps(rounded) == json.dumps(printed)


def test_infinite_and_missing_values_survive(tmp_path: Path) -> None:
    rows = [{"step": 0, "a": float("inf")}, {"step": 1, "a": float("nan")}, {"step": 2, "a": -float("inf")}]
    make_run(tmp_path / "runs", rows, {"x": {}}, make_config())
    write_tables(read_runs("metrics", tmp_path / "runs"), "x", tmp_path, Thinning())
    values = load_exported(tmp_path, "x").table["value"].to_numpy()
    np.testing.assert_array_equal(values, [np.inf, np.nan, -np.inf])


def test_an_unknown_experiment_lists_those_there_are(runs_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="experiment=typo has no run here; there is alone, tying"):
        write_tables(read_runs("metrics", runs_dir), "typo", tmp_path, Thinning())


def test_the_command_writes_all_experiments_or_names_the_mistake(runs_dir: Path, tmp_path: Path) -> None:
    def export(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lmablate.export", f"out={tmp_path / 'out'}", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = export(f"runs_dir={runs_dir}", "csv=none")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{form}" for name in ("alone", "tying") for form in ("parquet", "runs.csv")
    }
    missing = export(f"runs_dir={tmp_path}/nowhere")
    assert missing.returncode == 2
    assert missing.stderr == f"lmablate: runs_dir={tmp_path}/nowhere is not a folder.\n"
