"""A run's folder: one identity, one state, one process at a time."""

import json

import pytest

from lmablate.errors import Diverged, UserError
from lmablate.files import Busy
from lmablate.runs import run as run_module
from lmablate.runs.run import Run, all_runs, differences, run_id

IDENTITY = {"config": {"seed": 0, "optim": {"lr": 0.1}}, "data_fingerprint": "ab", "code_version": 1}


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, IDENTITY, "tiny-s0", "seed: 0\n")


def test_an_id_depends_on_the_values_and_not_on_their_order():
    reordered = dict(reversed(IDENTITY.items()))
    assert run_id(IDENTITY, "tiny-s0") == run_id(reordered, "tiny-s0")
    assert run_id(IDENTITY | {"code_version": 2}, "tiny-s0") != run_id(IDENTITY, "tiny-s0")
    label, digest = run_id(IDENTITY, "tiny-s0").rsplit("-", 1)
    assert label == "tiny-s0"
    assert len(digest) == 10


def test_the_same_identity_is_the_same_folder(run, tmp_path):
    run.add_facts(parameters=12)
    again = Run.create(tmp_path, IDENTITY, "tiny-s0", "another text\n")
    assert again.folder == run.folder
    assert again.facts()["parameters"] == 12
    assert (run.folder / "config.yaml").read_text() == "seed: 0\n"


def test_a_folder_with_another_identity_is_refused_with_the_difference(run, tmp_path):
    run.add_facts(identity={**IDENTITY, "data_fingerprint": "cd"})
    with pytest.raises(UserError, match="another configuration: data_fingerprint: 'cd' -> 'ab'"):
        Run.create(tmp_path, IDENTITY, "tiny-s0", "")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x"}', '{"identity": 3}', "\xff"])
def test_a_damaged_run_json_is_named(run, content):
    run.facts_path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        run.facts()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="runs_dir="):
        Run.create(tmp_path / "file", IDENTITY, "tiny-s0", "")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"state": 1}'])
def test_a_missing_or_damaged_status_counts_as_missing(run, content):
    if content is not None:
        (run.folder / "status.json").write_text(content)
    assert run.status() == {"state": "missing"}
    assert run.is_due()


def test_a_done_run_is_not_due_and_a_failed_one_is_unless_it_is_skipped(run, caplog):
    run.set_status("failed", error="no luck")
    assert run.is_due()
    assert not run.is_due(skip_failed=True)
    assert "skipped, it failed before: no luck" in caplog.text
    run.set_status("done")
    assert not run.is_due()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("x=1 is not allowed."), "x=1 is not allowed."),
        (Diverged(7), "diverged at step 7"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("a trace\nand its last line"), "RuntimeError: and its last line"),
        (RuntimeError(), "RuntimeError: "),
    ],
)
def test_a_failure_is_recorded_in_one_sentence_and_raised(run, error, sentence):
    run.set_status("running", step=5)
    with pytest.raises(type(error)), run.recording_failure():
        raise error
    status = run.status()
    assert (status["state"], status["error"], status["step"]) == ("failed", sentence, 5)


def test_a_stop_is_not_recorded_as_a_failure(run):
    run.set_status("preempted")
    with pytest.raises(SystemExit), run.recording_failure():
        raise SystemExit(143)
    assert run.status()["state"] == "preempted"


def test_another_rank_fails_in_a_file_of_its_own_until_it_starts_again(run):
    run.set_status("running")
    with pytest.raises(KeyError), run.recording_failure(rank=3):
        raise KeyError("x")
    path = run.folder / "status.rank3.json"
    assert json.loads(path.read_text())["error"] == "KeyError: 'x'"
    assert run.status()["state"] == "running"
    with run.recording_failure(rank=3):
        assert not path.exists()


def test_the_lock_is_held_by_one_and_removes_what_a_kill_left_behind(run, monkeypatch):
    monkeypatch.setattr(run_module, "LOCK_TIMEOUT_S", 0.1)
    run.set_status("running")
    names = ("status.json", "metrics.jsonl", "divergence.json", "tokenizer.json")
    parts = [run.folder / f".{name}.0badcafe.part" for name in names]
    for part in parts:
        part.touch()
    with run.lock():
        assert not any(part.exists() for part in parts)
        with pytest.raises(Busy, match=f"{run.id} is being trained by process"), run.lock():
            pass
    with run.lock():
        pass


def test_each_experiment_records_its_own_choices(run):
    run.add_to_experiment("a", {"arch": "vanilla"})
    run.add_to_experiment("b", {"model/pos": "sin"})
    recorded = {path.name: json.loads(path.read_text()) for path in (run.folder / "experiments").iterdir()}
    assert recorded == {"a": {"arch": "vanilla"}, "b": {"model/pos": "sin"}}


def test_differences_are_named_by_their_whole_key():
    old = {"a": {"b": 1, "c": [1]}, "d": 1}
    new = {"a": {"b": 2, "c": [1]}, "e": None}
    assert differences(old, new) == ["a.b: 1 -> 2", "d: 1 -> None"]
    assert differences(old, old) == []


def test_all_runs_are_the_folders_with_a_run_json(run, tmp_path):
    (tmp_path / ".jobs").mkdir()
    other = Run.create(tmp_path, IDENTITY, "alpha-s0", "")
    assert all_runs(tmp_path) == [other, run]
