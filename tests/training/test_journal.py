"""The records of a run while it trains: complete, in order, finite, and the same in the mirror."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lmablate.errors import Diverged
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import Run
from lmablate.training.journal import Journal
from lmablate.training.tracking import NoTracking


class Recorder(NoTracking):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.ends: list[bool] = []

    def log(self, row: Mapping[str, float]) -> None:
        self.rows.append(dict(row))

    def finish(self, failed: bool = False) -> None:
        self.ends.append(failed)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, {"config": {}}, "tiny-s0", "")


def journal_of(run: Run, tracker: NoTracking | None = None, **changes) -> Journal:
    settings: dict[str, Any] = dict(first_step=0, max_steps=100, tokens_per_step=8) | changes
    return Journal(run, tracker or NoTracking(), **settings)


def train(journal: Journal, steps: range, diverged: int | None = None) -> None:
    for step in steps:
        loss = torch.tensor(float("nan") if step == diverged else 0.5 * step)
        journal.check_step(step, loss, torch.ones(2))
        journal.add_step_time(0.25)
        journal.add_row(step, {"train/loss": loss, "lr": 0.1})


def test_rows_are_written_in_order_with_tokens_and_speed_and_mirrored(run):
    tracker = Recorder()
    journal = journal_of(run, tracker)
    train(journal, range(20))
    journal.flush()
    rows = read_metrics(run.metrics_path)
    assert [row["step"] for row in rows] == list(range(20))
    assert rows[3] == {"step": 3, "train/loss": 1.5, "lr": 0.1, "tokens": 24, "tokens_per_s": 32.0}
    assert tracker.rows == rows
    assert journal.sync() == 20
    journal.close(failed=False)


def test_rows_are_written_several_at_a_time(run):
    journal = journal_of(run)
    written = set()
    for step in range(3 * Journal.ROWS):
        train(journal, range(step, step + 1))
        written.add(len(read_metrics(run.metrics_path)))
    journal.close(failed=True)
    assert written == {0, Journal.ROWS, 2 * Journal.ROWS, 3 * Journal.ROWS}


def test_a_row_waits_no_longer_than_a_few_seconds(run, monkeypatch):
    monkeypatch.setattr(Journal, "SECONDS", 0.0)
    journal = journal_of(run)
    train(journal, range(1))
    assert len(read_metrics(run.metrics_path)) == 1
    journal.close(failed=True)


def test_a_resumed_run_continues_its_rows(run):
    journal = journal_of(run)
    train(journal, range(10))
    journal.flush()
    journal.close(failed=True)
    journal = journal_of(run, first_step=6, rows_before=6)
    train(journal, range(6, 8))
    journal.flush()
    journal.close(failed=True)
    assert [row["step"] for row in read_metrics(run.metrics_path)] == list(range(8))


def test_the_status_follows_the_rows_and_ends_with_the_run(run):
    tracker = Recorder()
    journal = journal_of(run, tracker)
    assert run.status()["state"] == "running"
    train(journal, range(10))
    journal.flush()
    status = run.status()
    assert (status["state"], status["step"], status["max_steps"]) == ("running", 9, 100)
    assert status["seconds_left"] == pytest.approx(91 * 0.25)
    journal.end("done", step=10, **{"val/loss": 1.5})
    journal.close(failed=True)
    status = run.status()
    assert (status["state"], status["step"], status["val/loss"]) == ("done", 10, 1.5)
    assert tracker.ends == [False]


def test_a_run_that_was_not_ended_is_closed_as_failed(run):
    tracker = Recorder()
    journal_of(run, tracker).close(failed=True)
    assert tracker.ends == [True]
    assert run.status()["state"] == "running", "whoever raised the error records it"


def test_a_step_that_is_not_finite_ends_the_rows_before_it(run):
    journal = journal_of(run)
    with pytest.raises(Diverged) as raised:
        train(journal, range(40), diverged=5)
    assert raised.value.step == 5
    assert [row["step"] for row in read_metrics(run.metrics_path)] == [0, 1, 2, 3, 4]
    journal.record_divergence(5, (torch.tensor([[1, 2]]), torch.tensor([[2, 3]])), ["a", "b"])
    journal.close(failed=True)
    record = json.loads((run.folder / "divergence.json").read_text())
    assert (record["step"], record["tokens"], record["targets"]) == (5, [[1, 2]], [[2, 3]])
    assert [row["step"] for row in record["steps"]] == [0, 1, 2, 3, 4, 5]


def test_steps_without_a_row_are_checked_as_well(run):
    journal = journal_of(run)

    def check_steps() -> None:
        for step in range(2 * Journal.ROWS):
            journal.check_step(step, torch.tensor(float("inf") if step == 3 else 1.0), torch.ones(2))

    with pytest.raises(Diverged) as raised:
        check_steps()
    assert raised.value.step == 3
    journal.close(failed=True)


def test_other_ranks_write_nothing(run):
    before = sorted(run.folder.rglob("*"))
    journal = journal_of(run, silent=True)
    train(journal, range(40), diverged=5)
    journal.flush()
    journal.record_divergence(5, (torch.zeros(1, 1), torch.zeros(1, 1)), ["a", "b"])
    journal.end("done", step=40)
    journal.close(failed=True)
    assert sorted(run.folder.rglob("*")) == before
