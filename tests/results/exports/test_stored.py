"""Exports are read back as they were written; missing or damaged ones end in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from lmablate.errors import UserError
from lmablate.results.exports import Thinning, exported_names, load_exported, read_runs, write_tables


def test_missing_exports_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"python -m lmablate\.export experiment=x"):
        load_exported(tmp_path, "x")


def test_damaged_exports_are_refused(runs_dir: Path, tmp_path: Path) -> None:
    write_tables(read_runs("metrics", runs_dir), "tying", tmp_path, Thinning())
    (tmp_path / "tying.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        load_exported(tmp_path, "tying")


def test_runs_of_every_state_are_kept(runs_dir: Path, tmp_path: Path) -> None:
    write_tables(read_runs("metrics", runs_dir), "tying", tmp_path / "out", Thinning())
    runs = load_exported(tmp_path / "out", "tying").runs.set_index("seed")
    states = runs.loc[runs["model/tying"] == "true", "state"].to_dict()
    assert states == {0: "done", 1: "failed", 2: "running"}
    assert runs.loc[1, "error"] == "Diverged: diverged at step 50"
    assert np.isnan(runs["val/loss"].to_numpy()[runs.index == 2]).all()
    assert runs["tokens"].tolist() == [200 * 16 * 128] * 4


def test_a_shared_run_is_in_both_experiments(runs_dir: Path, tmp_path: Path) -> None:
    recorded = read_runs("metrics", runs_dir)
    for experiment in ("tying", "alone"):
        write_tables(recorded, experiment, tmp_path, Thinning())
    assert exported_names(tmp_path) == ["alone", "tying"]
    shared = load_exported(tmp_path, "alone").runs["run"].tolist()
    assert len(shared) == 1
    assert shared[0] in load_exported(tmp_path, "tying").runs["run"].tolist()
