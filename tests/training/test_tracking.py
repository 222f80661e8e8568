"""The mirror of the metrics, with the real wandb client, offline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from lmablate.results.exports.wandb_offline import Segment, read_segment
from lmablate.training.tracking import NoTracking, Wandb

ROWS = [{"step": 0, "train/loss": 2.5}, {"step": 3, "train/loss": 1.5, "val/loss": 1.25}]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """There is no API key, and this machine's own settings of wandb are not read. Afterwards wandb's service stops."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    yield
    wandb.teardown()


def recorded(tracker: Wandb, folder: Path, failed: bool) -> Segment:
    """What wandb has recorded of a run of two rows."""
    tracker.start(folder, "tiny-s0-0badcafe", "an-experiment", {"seed": 0})
    for row in ROWS:
        tracker.log(row)
    tracker.finish(failed)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return read_segment(path)


def test_wandb_records_the_rows_of_a_run_under_its_own_id_and_steps(tmp_path):
    segment = recorded(Wandb(mode="offline"), tmp_path, failed=False)
    assert segment.header["run_id"] == "tiny-s0-0badcafe"
    assert segment.rows == [(0, {"train/loss": 2.5}), (3, {"train/loss": 1.5, "val/loss": 1.25})]
    assert segment.exit_code == 0


def test_without_a_key_an_online_run_is_tracked_offline_with_a_warning(tmp_path, caplog):
    segment = recorded(Wandb(mode="online"), tmp_path, failed=True)
    assert "wandb cannot be reached (No API key configured" in caplog.text
    assert len(segment.rows) == 2
    assert segment.exit_code == 1


def test_without_a_tracker_nothing_is_written(tmp_path):
    tracker = NoTracking()
    tracker.start(tmp_path, "tiny-s0-0badcafe", "an-experiment", {})
    tracker.log(ROWS[0])
    tracker.finish()
    assert list(tmp_path.iterdir()) == []
