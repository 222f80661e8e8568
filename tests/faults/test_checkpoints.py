"""Files of a run that are damaged, belong to another run, or do not fit on the disk.

Damage is reported, and survived if another checkpoint is whole; files of another run are refused; a full disk loses
nothing; and nothing in a checkpoint is executed.
"""

import json
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file

from lmablate.config.build import build_model
from lmablate.files import sha256
from lmablate.runs.metrics import read_metrics
from lmablate.training.checkpoint import best_of, checkpoints, load_checkpoint
from tests.faults.helpers import last_line
from tests.tiny import LONGER, configured, finish, result, the_run

MB = 2**20
Whole = tuple[list[str], Path, dict[str, bytes]]


@pytest.fixture(scope="module")
def whole(corpus: list[str], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Overrides, the folder and the result of a run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    overrides = [*LONGER, *corpus, "train.max_steps=20", "train.keep_checkpoints=3"]
    cfg = configured(*overrides, f"runs_dir={folder / 'runs'}")
    assert finish(cfg, folder / "log") == 0, (folder / "log").read_text()
    return overrides, folder / "runs", result(cfg)


@pytest.fixture
def interrupted(whole: Whole, tmp_path: Path) -> DictConfig:
    """A copy of that run, as if it had been killed just after the last checkpoint."""
    overrides, runs, _ = whole
    shutil.copytree(runs, tmp_path / "runs")
    cfg = configured(*overrides, f"runs_dir={tmp_path / 'runs'}")
    (the_run(cfg).folder / "status.json").unlink()
    return cfg


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_last_checkpoints_and_the_best_are_kept(interrupted: DictConfig) -> None:
    folder = the_run(interrupted).checkpoints
    assert [int(path.name[5:]) for path in checkpoints(folder)][-3:] == [10, 15, 20]
    assert best_of(checkpoints(folder)) in checkpoints(folder)
    for path in checkpoints(folder):
        for name, digest in json.loads((path / "manifest.json").read_text()).items():
            assert sha256(path / name) == digest


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(
    whole: Whole, interrupted: DictConfig, log: Path, damage: Callable[[Path], None], name: str
) -> None:
    run = the_run(interrupted)
    damage(checkpoints(run.checkpoints)[-1] / name)
    assert finish(interrupted, log) == 0, log.read_text()
    assert "step_00000020 is damaged" in log.read_text()
    assert "resumes at step 15 of 20" in log.read_text()
    assert result(interrupted) == whole[2]


def test_without_a_whole_checkpoint_the_run_begins_again(whole: Whole, interrupted: DictConfig, log: Path) -> None:
    for path in checkpoints(the_run(interrupted).checkpoints):
        truncate(path / "model.safetensors")
    assert finish(interrupted, log) == 0, log.read_text()
    assert "starting again from step 0" in log.read_text()
    assert result(interrupted) == whole[2]


def test_another_identity_in_the_folder_is_refused_with_the_difference(interrupted: DictConfig, log: Path) -> None:
    run = the_run(interrupted)
    facts = run.facts()
    facts["identity"]["config"]["optim"]["lr"] = 0.5
    facts["identity"]["data_fingerprint"] = "0" * 64
    run.facts_path.write_text(json.dumps(facts))
    assert finish(interrupted, log) == 2
    assert "belongs to another configuration: config.optim.lr: 0.5 -> 0.003; data_fingerprint: '0000" in last_line(log)


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("model.d_model=32", r"float32\[\d+, 32\]' -> 'float32\[\d+, 16\]'"),
        ("seed=1", r"something else: run: '\S+-s1-\w+' -> '\S+-s0-\w+'\.$"),
        ("model/pos=learned", r"float32\[16, 16\]' -> None"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(
    whole: Whole, interrupted: DictConfig, tmp_path: Path, log: Path, override: str, difference: str
) -> None:
    other = configured(*whole[0], override, "train.max_steps=25", f"runs_dir={tmp_path / 'other'}")
    assert finish(other, log) == 0, log.read_text()
    shutil.move(the_run(other).checkpoints / "step_00000025", the_run(interrupted).checkpoints)
    assert finish(interrupted, log) == 2
    assert "step_00000025 is a checkpoint of something else: " in last_line(log)
    assert re.search(difference, last_line(log))


def test_missing_rows_of_metrics_are_refused(interrupted: DictConfig, log: Path) -> None:
    path = the_run(interrupted).metrics_path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5] + lines[6:]))
    assert finish(interrupted, log) == 2
    assert "has 19 rows before step 20, but had 20" in last_line(log)


def test_damage_to_metrics_after_the_checkpoint_does_no_harm(whole: Whole, interrupted: DictConfig, log: Path) -> None:
    with the_run(interrupted).metrics_path.open("ab") as file:
        file.write(bytes(100) + b"\n" + b'{"step": 21, "tra')  # as a power cut leaves it
    assert finish(interrupted, log) == 0, log.read_text()
    assert result(interrupted) == whole[2]


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_pickle_in_a_checkpoint_is_not_executed(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Even if the manifest has its checksum."""
    cfg = configured()
    model = build_model(cfg)
    path = tmp_path / "checkpoints" / "step_00000001"
    path.mkdir(parents=True)
    save_file(model.state_dict(), path / "model.safetensors")
    save_file({}, path / "optimizer.safetensors")
    (path / "state.json").write_text('{"step": 1}')
    (path / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    if name != "manifest.json":
        names = ("model.safetensors", "optimizer.safetensors", "state.json")
        (path / "manifest.json").write_text(json.dumps({name: sha256(path / name) for name in names}))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    if name == "optimizer.safetensors":  # a reader of the weights alone does not open it
        assert load_checkpoint(path.parent, model) == {"step": 1}
    else:
        assert load_checkpoint(path.parent, model) is None
        assert "is damaged" in caplog.text
    assert not (tmp_path / "canary").exists()
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())
    if name != "model.safetensors":
        assert load_file(path / "model.safetensors").keys() == weights.keys()


def test_nothing_in_a_runs_folder_names_a_file_outside(corpus: list[str], tmp_path: Path, log: Path) -> None:
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=1")
    assert finish(cfg, log) == 0
    run = the_run(cfg)
    assert str(tmp_path) not in run.facts_path.read_text()
    assert run.tokenizer_path.parent == run.folder


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of `size` bytes at `folder` during the block."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_a_disk(overrides: list[str], undisturbed: dict[str, bytes], size: int, disk: Path, log: Path) -> int | None:
    """Train where only `size` bytes are free, then make room and resume. Return the exit code of the first run."""
    with small_disk(disk, size):
        cfg = configured(*overrides, f"runs_dir={disk / 'runs'}")
        code = finish(cfg, log)
        if code == 0:
            return code
        assert code == 2, log.read_text()
        assert last_line(log).endswith("has no space left: free some, or name another folder.")
        for run in disk.glob("runs/*/run.json"):
            kept = checkpoints(run.parent / "checkpoints")
            assert all((path / "manifest.json").exists() for path in kept)
            metrics = run.parent / "metrics.jsonl"
            steps = [row["step"] for row in read_metrics(metrics)] if metrics.exists() else []
            assert steps == list(range(len(steps)))
            assert len(steps) >= max((int(path.name[5:]) for path in kept), default=0)
        subprocess.run(["mount", "-o", f"remount,size={64 * MB}", str(disk)], check=True)
        assert finish(cfg, log) == 0, log.read_text()
        assert result(cfg) == undisturbed
    return code


NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@NEEDS_ROOT
def test_a_full_disk_ends_in_one_sentence_and_loses_nothing(whole: Whole, tmp_path: Path, log: Path) -> None:
    """The disk is full before the first checkpoint, while it is written, and while a later one is written."""
    codes = [
        fill_a_disk(whole[0], whole[2], size, tmp_path / f"disk{size}", log)
        for size in (48 * 1024, 160 * 1024, 400 * 1024)
    ]
    assert 2 in codes


@NEEDS_ROOT
@pytest.mark.faults
def test_a_disk_that_is_full_at_any_page_loses_nothing(whole: Whole, tmp_path: Path, log: Path) -> None:
    full = 0
    for size in range(16 * 1024, 1024 * 1024, 12 * 1024):
        if fill_a_disk(whole[0], whole[2], size, tmp_path / f"disk{size}", log) == 0:
            break
        full += 1
    print(f"{full} full disks")
    assert full > 20
