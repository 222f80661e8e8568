"""Runs are read from wandb's offline files alone, from torn ones too."""

from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.results.exports import Thinning, load_exported, read_runs, write_tables
from lmablate.results.exports.wandb_offline import read_segment, read_wandb_offline


def test_wandb_files_alone_give_factors_seeds_and_budget(trained: Path, tmp_path: Path) -> None:
    """The runs' folders may be elsewhere, for example after a copy from a cluster."""
    runs = read_wandb_offline(trained, runs_dir=tmp_path)
    write_tables(runs, "tiny", tmp_path / "alone", Thinning())
    write_tables(read_runs("metrics", trained), "tiny", tmp_path / "described", Thinning())
    alone, described = load_exported(tmp_path / "alone", "tiny"), load_exported(tmp_path / "described", "tiny")
    assert alone.table.equals(described.table)
    columns = ["run", "seed", "model/pos", "state", "tokens", "max_steps", "warmup_steps", "val/loss"]
    assert alone.runs[columns].equals(described.runs[columns])


def test_a_torn_file_gives_the_rows_that_it_still_has(trained: Path, tmp_path: Path) -> None:
    whole = next(trained.rglob("*.wandb"))
    torn = tmp_path / "torn.wandb"
    torn.write_bytes(whole.read_bytes()[:-600])
    full, part = read_segment(whole), read_segment(torn)
    assert part.rows == full.rows[: len(part.rows)]
    assert part.exit_code is None


def test_a_file_that_wandb_did_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wandb").write_bytes(b"hello")
    with pytest.raises(UserError, match="holds no wandb run"):
        read_runs("wandb", tmp_path)
