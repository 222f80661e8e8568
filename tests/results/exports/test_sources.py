"""metrics.jsonl, wandb's offline files and CSV files of its web page give the same table."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.results.exports import Recorded, Thinning, load, open_experiment, read, wandb_offline, write
from tests.results.exports.helpers import learning, make_config, make_run

ROOT = Path(__file__).resolve().parents[2]
METRICS = ("train/loss", "val/loss", "val/bpb", "grad_norm", "lr", "tokens", "tokens_per_s")
TINY = [
    "data=text",
    "model.d_model=16",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.d_ff=32",
    "model.context_length=16",
    "tokenizer.vocab_size=300",
    "train.max_steps=6",
    "train.batch_size=2",
    "train.eval_every=3",
    "train.eval_batches=1",
    "optim.warmup_steps=2",
    "tracking=wandb_offline",
    "model/pos=rope,nope",
    "name=tiny",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny runs by the real entry point, mirrored by the real wandb client."""
    folder = tmp_path_factory.mktemp("trained")
    text = (ROOT / "lmablate" / "loop.py").read_text()
    for name in ("train", "valid"):
        (folder / f"{name}.txt").write_text(text)
    paths = [f"data.{name}={folder}/{name}.txt" for name in ("train", "valid")]
    paths += [f"runs_dir={folder}/runs", f"data_dir={folder}/data"]
    command = [sys.executable, "-m", "lmablate.train", "-m", *TINY, *paths]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return folder / "runs"


def save_pages(recorded: list[Recorded], folder: Path) -> None:
    """One CSV file a chart, as the wandb page writes it: cells quoted, three columns a run, gaps empty."""
    folder.mkdir()
    curves = {run.run: run.curves() for run in recorded}
    for metric in sorted({metric for points in curves.values() for metric in points}):
        names = [run for run in curves if metric in curves[run]]
        header = ["Step", *(f"{n} - {metric}{end}" for n in names for end in ("", "__MIN", "__MAX"))]
        cells = {n: dict(zip(*map(list, curves[n][metric]), strict=True)) for n in names}
        with (folder / f"wandb_export_{metric.replace('/', '_')}.csv").open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(header)
            for step in sorted({step for points in cells.values() for step in points}):
                writer.writerow([step, *(cells[n].get(step, "") for n in names for _ in range(3))])


def test_three_sources_give_the_same_table(trained: Path, tmp_path: Path) -> None:
    mirrored = read("wandb", trained)
    save_pages(mirrored, tmp_path / "pages")
    sources = {
        "metrics": read("metrics", trained),
        "wandb": mirrored,
        "csv": read("csv", trained, tmp_path / "pages"),
    }
    written = {name: write(runs, "tiny", tmp_path / name, Thinning()) for name, runs in sources.items()}
    contents = {name: [path.read_bytes() for path in paths] for name, paths in written.items()}
    assert contents["metrics"] == contents["wandb"] == contents["csv"]

    data = load(tmp_path / "metrics", "tiny")
    assert data.factors == ["model/pos"]
    assert sorted(data.runs["model/pos"]) == ["nope", "rope"]
    assert set(data.runs["state"]) == {"done"}
    assert set(data.table["metric"]) >= set(METRICS)
    assert data.table.groupby("metric")["step"].nunique()["train/loss"] == 6


def test_wandb_files_alone_tell_factors_seeds_and_budget(trained: Path, tmp_path: Path) -> None:
    """Where the runs' folders are elsewhere, such as after a copy from a cluster."""
    runs = wandb_offline.runs(trained, runs_dir=tmp_path)
    write(runs, "tiny", tmp_path / "out", Thinning())
    write(read("metrics", trained), "tiny", tmp_path / "ours", Thinning())
    alone, ours = load(tmp_path / "out", "tiny"), load(tmp_path / "ours", "tiny")
    assert alone.table.equals(ours.table)
    columns = ["run", "seed", "model/pos", "state", "tokens", "max_steps", "warmup_steps", "val/loss"]
    assert alone.runs[columns].equals(ours.runs[columns])


def test_a_torn_wandb_file_gives_the_rows_that_it_still_has(trained: Path, tmp_path: Path) -> None:
    whole = next(trained.rglob("*.wandb"))
    torn = tmp_path / "torn.wandb"
    torn.write_bytes(whole.read_bytes()[:-600])
    full, part = wandb_offline.read(whole), wandb_offline.read(torn)
    assert part.rows == full.rows[: len(part.rows)]
    assert part.exit_code is None


def test_a_file_that_is_not_wandbs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wandb").write_bytes(b"hello")
    with pytest.raises(UserError, match="holds no wandb run"):
        read("wandb", tmp_path)


def test_csv_of_runs_without_folders_reads_factors_off_names(tmp_path: Path) -> None:
    labelled = make_run(tmp_path / "runs", learning(0), {"made": {}}, make_config(pos="rope"))
    others = make_run(tmp_path / "runs", learning(1), {"made": {}}, make_config(seed=3, pos="nope"))
    save_pages(read("metrics", tmp_path / "runs"), tmp_path / "pages")
    data = open_experiment("saved", tmp_path, tmp_path / "pages", runs_dir=tmp_path / "elsewhere")
    levels = data.runs.set_index("run")[["model/pos", "seed"]]
    assert levels.loc[labelled.id].tolist() == ["rope", 0]
    assert levels.loc[others.id].tolist() == ["nope", 3]


def test_csv_of_foreign_names_and_seeds(tmp_path: Path) -> None:
    header = "Step,my - rope run_seed2 - train/loss,my - rope run_seed2 - train/loss__MIN,sin-s1 - train/loss\n"
    (tmp_path / "page.csv").write_text(header + "0,8.5,8.5,9\n1,7.5,7.5,\n")
    data = open_experiment("saved", tmp_path, tmp_path)
    assert data.factors == ["variant"]
    assert data.runs[["variant", "seed"]].values.tolist() == [["my - rope run", 2], ["sin", 1]]
    assert data.table["value"].tolist() == [8.5, 7.5, 9.0]
