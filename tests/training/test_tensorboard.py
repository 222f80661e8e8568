"""The mirror in TensorBoard, read back by TensorBoard's own reader, and several mirrors at once."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from lmablate.config.build import build
from lmablate.errors import UserError
from lmablate.runs.metrics import read_metrics
from lmablate.train import train
from lmablate.training.tracking import Several, TensorBoard
from tests.tiny import LONGER, configured, exit_code, finish, in_a_fork, the_run, write_corpus
from tests.training.test_tracking import Failing

# A class that protobuf makes when it is imported.
HPARAMS = plugin_data_pb2.HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]
CONFIG = {"name": "x", "optim": {"lr": 0.5, "betas": [0.9, 0.95], "min_lr": None}, "train": {"compile": True}}
ROWS = [{"step": step, "train/loss": 2.0 - step, "val/loss": 1.0 / (step + 1)} for step in range(8)]


def read(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return reader.Reload()


def points(reader: EventAccumulator, metric: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in reader.Scalars(metric)]


def mirrored(run: Path, rows: list[dict[str, float]], end: bool | None = False, **options: object) -> Path:
    """Mirror rows of a run. It ends as failed (True), as done (False), or is killed (None)."""
    tracker = TensorBoard(**options)  # pyright: ignore[reportArgumentType]
    tracker.start(run, "tiny-s0-0badcafe", "an-experiment", CONFIG)
    for row in rows:
        tracker.log(row)
    if end is not None:
        tracker.finish(failed=end)
    return run / "tensorboard"


def test_every_row_is_a_point_at_the_runs_own_step(tmp_path):
    reader = read(mirrored(tmp_path, [ROWS[0], ROWS[3], ROWS[7]]))
    assert points(reader, "train/loss") == [(0, 2.0), (3, -1.0), (7, -5.0)]
    assert points(reader, "val/loss") == [(0, 1.0), (3, 0.25), (7, 0.125)]


def test_a_finished_run_has_its_config_and_last_scores_in_the_same_folder(tmp_path):
    folder = mirrored(tmp_path, ROWS)
    reader = read(folder)
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = HPARAMS.FromString(content).session_start_info.hparams
    assert start["optim.lr"].number_value == 0.5
    assert start["optim.betas"].string_value == "[0.9, 0.95]"
    assert start["name"].string_value == "x"
    assert start["train.compile"].number_value == 1
    assert "optim.min_lr" not in start
    assert points(reader, "final/val/loss") == [(7, 0.125)]
    assert len(points(reader, "val/loss")) == len(ROWS)
    assert [path for path in folder.rglob("*") if path.is_dir()] == []


@pytest.mark.parametrize("end", [True, None])
def test_a_run_that_is_not_done_has_no_final_scores(tmp_path, end):
    reader = read(mirrored(tmp_path, ROWS, end))
    assert len(points(reader, "train/loss")) == len(ROWS)
    assert reader.Tags()["scalars"] == ["train/loss", "val/loss"]


@pytest.mark.parametrize("end", [True, False, None], ids=["stopped", "done", "killed"])
@pytest.mark.parametrize("again_from", [0, 1, 4, 7])
def test_a_resumed_run_goes_on_without_a_step_that_has_two_points(tmp_path, again_from, end):
    mirrored(tmp_path, ROWS[:7], end)
    time.sleep(1.1)  # the names of event files have a resolution of a second
    reader = read(mirrored(tmp_path, ROWS[again_from:]))
    for metric in ("train/loss", "val/loss"):
        assert points(reader, metric) == [(row["step"], pytest.approx(row[metric])) for row in ROWS]


def test_a_folder_of_the_users_has_a_folder_for_each_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for number, named in enumerate([tmp_path / "a", "b", "~/c"]):
        own = tmp_path / f"run{number}"
        own.mkdir()
        mirrored(own, ROWS, folder=named)
        assert list(own.iterdir()) == []
    for name in "abc":
        assert len(points(read(tmp_path / name / "tiny-s0-0badcafe"), "val/loss")) == len(ROWS)


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"needs the package tensorboard: install lmablate\[tensorboard\]"):
        TensorBoard()


def test_a_killed_and_resumed_run_has_the_points_of_its_metrics(tmp_path):
    cfg = configured(*write_corpus(tmp_path), f"runs_dir={tmp_path / 'runs'}", *LONGER, "tracking=tensorboard")
    process = in_a_fork(lambda: train(cfg), tmp_path / "log")
    while not list(tmp_path.glob("runs/*/checkpoints/step_*10")):
        assert process.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(1.1)
    assert finish(cfg, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    reader, rows = read(the_run(cfg).folder / "tensorboard"), read_metrics(the_run(cfg).metrics_path)
    assert len(list((the_run(cfg).folder / "tensorboard").iterdir())) == 3  # two starts, and the table at the end
    for metric in {name for row in rows for name in row} - {"step", "tokens_per_s"}:
        expected = [(row["step"], pytest.approx(row[metric], rel=1e-6)) for row in rows if metric in row]
        assert points(reader, metric) == expected


@pytest.mark.parametrize("at", ["start", "log", "finish"])
def test_when_one_of_several_fails_the_others_go_on(tmp_path, at, caplog):
    failing = Failing(at, RuntimeError("broken"))
    tracker = Several({"failing": failing, "good": TensorBoard(tmp_path)})
    tracker.start(tmp_path, "id", "group", CONFIG)
    for row in ROWS:
        tracker.log(row)
    tracker.finish()
    assert len(caplog.records) == 1
    assert len(points(read(tmp_path / "id"), "final/val/loss")) == 1
    assert failing.calls.count(at) == 1


NOT_TRACKERS = [
    ({}, "must name at least one"),
    (None, "must name at least one"),
    ([], "must name at least one"),
    (3, "must name at least one"),
    ("wandb", "must name at least one"),
    ([{"_target_": "lmablate.training.tracking.NoTracking"}], "must name at least one"),
    ({"a": 3}, r"tracking.trackers.a is not allowed: it must be a tracker \(_target_: .*Wandb"),
    ({"a": None}, "must be a tracker"),
    ({"a": {"project": "x"}}, "must be a tracker"),
    ({"a": {"_target_": "lmablate.data.corpora.PyStdlib"}}, "must be a tracker"),
    ({"a": {"_target_": "lmablate.training.tracking.Wandb", "project": "a/b"}}, "tracking.project='a/b'"),
    ({"a": {"_target_": "os.system"}}, "_target_=os.system is refused"),
]


@pytest.mark.parametrize(("trackers", "words"), NOT_TRACKERS, ids=str)
def test_several_wants_trackers_by_name(trackers, words):
    node = OmegaConf.create({"_target_": "lmablate.training.tracking.Several", "trackers": trackers})
    with pytest.raises(UserError, match=words):
        build(node)


def test_without_the_package_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.chdir(tmp_path)
    for option in ("tensorboard", "wandb_and_tensorboard"):
        assert exit_code([f"tracking={option}"]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert "needs the package tensorboard" in sentence
    assert list(tmp_path.iterdir()) == []
