"""metrics.jsonl, wandb's offline files and CSV files of its web page give the same table."""

from pathlib import Path

from lmablate.results.exports import Thinning, load_exported, read_runs, write_tables
from lmablate.results.frames import get_column
from tests.results.exports.conftest import STEPS
from tests.results.exports.helpers import save_pages

METRICS = ("train/loss", "val/loss", "val/bpb", "grad_norm", "lr", "tokens", "tokens_per_s")


def test_three_sources_give_the_same_table(trained: Path, tmp_path: Path) -> None:
    mirrored = read_runs("wandb", trained)
    save_pages(mirrored, tmp_path / "pages")
    sources = {
        "metrics": read_runs("metrics", trained),
        "wandb": mirrored,
        "csv": read_runs("csv", trained, tmp_path / "pages"),
    }
    written = {name: write_tables(runs, "tiny", tmp_path / name, Thinning()) for name, runs in sources.items()}
    contents = {name: [path.read_bytes() for path in paths] for name, paths in written.items()}
    assert contents["metrics"] == contents["wandb"] == contents["csv"]

    data = load_exported(tmp_path / "metrics", "tiny")
    assert data.factors == ["model/pos"]
    assert sorted(data.runs["model/pos"]) == ["nope", "rope"]
    assert set(data.runs["state"]) == {"done"}
    assert set(data.table["metric"]) >= set(METRICS)
    assert get_column(data.metrics.rows("train/loss"), "step").nunique() == STEPS
