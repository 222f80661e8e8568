"""The tables that an export writes, and what it keeps, drops and refuses."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports import Thinning, load, read, write
from lmablate.results.exports.table import EVERY_STEP, round_significant
from tests.results.exports.helpers import learning, make_config, make_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """Two finished arms, one diverged run, one that has logged nothing yet; and a shared baseline."""
    folder = tmp_path / "runs"
    noted = {"model/tying": "true"}
    make_run(folder, learning(0), {"tying": noted, "alone": {}}, make_config(tying="true"))
    make_run(folder, learning(1), {"tying": {"model/tying": "false"}}, make_config(tying="false"))
    early = [row for row in learning(2) if row["step"] < 50]
    broken = "Diverged: diverged at step 50"
    make_run(folder, early, {"tying": noted}, make_config(1), state="failed", error=broken)
    make_run(folder, [], {"tying": noted}, make_config(2), state="running")
    return folder


def test_parquet_and_csv_hold_every_measurement(runs_dir: Path, tmp_path: Path) -> None:
    write(read("metrics", runs_dir), "tying", tmp_path / "out", Thinning(digits=17))
    data = load(tmp_path / "out", "tying")
    assert [*data.table.columns] == ["experiment", "run", "seed", "model/tying", "step", "metric", "value"]
    text = pd.read_csv(tmp_path / "out" / "tying.csv", dtype={"model/tying": str})
    pd.testing.assert_frame_equal(data.table, text, check_dtype=False)
    done = data.runs.loc[data.runs["state"] == "done", "run"]
    expected = {(row["step"], m): v for row in learning(1) for m, v in row.items() if m != "step"}
    run = data.table[(data.table["run"].isin(done)) & (data.table["model/tying"] == "false")]
    assert {(s, m): v for s, m, v in run[["step", "metric", "value"]].itertuples(index=False)} == expected


def test_runs_of_every_state_are_kept(runs_dir: Path, tmp_path: Path) -> None:
    write(read("metrics", runs_dir), "tying", tmp_path / "out", Thinning())
    runs = load(tmp_path / "out", "tying").runs.set_index("seed")
    states = runs.loc[runs["model/tying"] == "true", "state"].to_dict()
    assert states == {0: "done", 1: "failed", 2: "running"}
    assert runs.loc[1, "error"] == "Diverged: diverged at step 50"
    assert np.isnan(runs.loc[2, "val/loss"])
    assert runs["tokens"].tolist() == [200 * 16 * 128] * 4


def test_a_shared_run_is_in_both_experiments(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read("metrics", runs_dir)
    for experiment in ("tying", "alone"):
        write(recorded, experiment, tmp_path, Thinning())
    shared = load(tmp_path, "alone").runs["run"].tolist()
    assert len(shared) == 1
    assert shared[0] in load(tmp_path, "tying").runs["run"].tolist()


def test_writing_again_gives_the_same_bytes(runs_dir: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> list[bytes]:
        paths = write(read("metrics", runs_dir), "tying", folder, Thinning(), "gzip")
        return [path.read_bytes() for path in paths]

    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_thinning_keeps_evaluations_and_what_statistics_are_read_off(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read("metrics", runs_dir)
    write(recorded, "tying", tmp_path / "all", Thinning())
    write(recorded, "tying", tmp_path / "thin", Thinning(every=50))
    whole, thin = (load(tmp_path / name, "tying").table for name in ("all", "thin"))
    kept = whole["metric"].isin([*EVERY_STEP, "val/loss", "val/bpb"])
    pd.testing.assert_frame_equal(
        whole[kept].reset_index(drop=True),
        thin[thin["metric"].isin(whole.loc[kept, "metric"].unique())].reset_index(drop=True),
    )
    speeds = thin[(thin["metric"] == "tokens_per_s") & (thin["model/tying"] == "false")]
    assert speeds["step"].tolist() == sorted({*range(0, 200, 20), *range(0, 200, 50)})


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)))
def test_rounding_is_to_significant_digits(values: list[float]) -> None:
    rounded = round_significant(np.array(values), 6)
    for value, result in zip(values, rounded.tolist(), strict=True):
        if value == int(value):
            assert result == value
        else:
            assert abs(Decimal(result) - Decimal(value)) <= Decimal("5.0001e-6") * abs(Decimal(value))
            assert len(Decimal(repr(result)).normalize().as_tuple().digits) <= 6


def test_infinite_and_missing_values_survive(tmp_path: Path) -> None:
    rows = [{"step": 0, "a": float("inf")}, {"step": 1, "a": float("nan")}, {"step": 2, "a": -float("inf")}]
    make_run(tmp_path / "runs", rows, {"x": {}}, make_config())
    write(read("metrics", tmp_path / "runs"), "x", tmp_path, Thinning())
    values = load(tmp_path, "x").table["value"].to_numpy()
    np.testing.assert_array_equal(values, [np.inf, np.nan, -np.inf])


def test_an_unknown_experiment_lists_those_there_are(runs_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="experiment=typo has no run here; there is alone, tying"):
        write(read("metrics", runs_dir), "typo", tmp_path, Thinning())


def test_missing_exports_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"python -m lmablate\.export experiment=x"):
        load(tmp_path, "x")


def test_damaged_exports_are_refused(runs_dir: Path, tmp_path: Path) -> None:
    write(read("metrics", runs_dir), "tying", tmp_path, Thinning())
    (tmp_path / "tying.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path, "tying")


def test_the_entry_point(runs_dir: Path, tmp_path: Path) -> None:
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
    assert missing.stderr == f"lmablate: runs_dir={tmp_path}/nowhere is no folder.\n"
