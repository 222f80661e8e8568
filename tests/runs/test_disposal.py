"""Runs that are of no more use, and `python -m lmablate.clean`."""

import multiprocessing
import os
import shutil
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from lmablate.files import locked
from lmablate.runs import disposal, slurm
from lmablate.runs.disposal import HIDDEN, KINDS, dispose, find_useless
from lmablate.runs.run import Run, all_runs
from tests.tiny import exit_code

LONG_AGO = 2**22 + 1  # an id that no process has


def make(
    runs_dir: Path, state: str | None, version: int = 1, lr: float = 0.1, data: str = "text", **facts: object
) -> Run:
    """Make a run's folder with some files of a run."""
    identity = {"config": {"optim": {"lr": lr}}, "data_fingerprint": data, "code_version": version}
    run = Run.create(runs_dir, identity, "tiny-s0", "seed: 0\n")
    (run.checkpoints / "step_00000010").mkdir(parents=True)
    (run.checkpoints / "step_00000010" / "model.safetensors").write_bytes(b"0" * 1_500_000)
    if state:
        run.set_status(state, step=3, max_steps=10)
    return run


# The runs of a folder as (state, version, learning rate, data, more of status.json), the kinds that are asked for, and
# the places of the runs that are found.
DIED = {"pid": LONG_AGO}
FOLDERS = [
    # states
    ([("failed", 1, 0.1, "text", {})], "failed", [0]),
    ([("failed", 1, 0.1, "text", {})], "died,superseded", []),
    ([("running", 1, 0.1, "text", DIED)], "died", [0]),
    ([("running", 1, 0.1, "text", DIED)], "failed", []),
    ([("running", 1, 0.1, "text", {})], "failed,died,superseded", []),
    ([("running", 1, 0.1, "text", {"host": "elsewhere", "heartbeat": 0.0})], "died", [0]),
    ([("running", 1, 0.1, "text", {"host": "elsewhere"})], "died", []),
    ([("done", 1, 0.1, "text", {})], "failed,died,superseded", []),
    ([("preempted", 1, 0.1, "text", {})], "failed,died,superseded", []),
    ([(None, 1, 0.1, "text", {})], "failed,died,superseded", []),
    # newer versions
    ([("done", 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {})], "superseded", [0]),
    ([("done", 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {})], "failed,died", []),
    ([("done", 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {}), ("done", 3, 0.1, "text", {})], "superseded", [0, 1]),
    ([("done", 1, 0.1, "text", {}), ("failed", 2, 0.1, "text", {})], "superseded", []),
    ([("done", 1, 0.1, "text", {}), ("running", 2, 0.1, "text", {})], "superseded", []),
    ([("done", 1, 0.1, "text", {}), ("preempted", 2, 0.1, "text", {})], "superseded", []),
    ([("done", 1, 0.1, "text", {}), ("done", 2, 0.2, "text", {})], "superseded", []),
    ([("done", 1, 0.1, "text", {}), ("done", 2, 0.1, "other", {})], "superseded", []),
    ([("running", 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {})], "superseded", []),
    ([("running", 1, 0.1, "text", DIED), ("done", 2, 0.1, "text", {})], "superseded", [0]),
    ([("preempted", 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {})], "superseded", [0]),
    ([(None, 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {})], "superseded", [0]),
    ([("failed", 1, 0.1, "text", {}), ("done", 2, 0.1, "text", {})], "superseded,failed", [0]),
    ([("failed", 2, 0.1, "text", {}), ("done", 1, 0.1, "text", {})], "superseded", []),
]


@pytest.mark.parametrize(("described", "kinds", "places"), FOLDERS)
@pytest.mark.parametrize("how", ["hide", "delete"])
def test_only_runs_that_are_of_no_more_use_go(tmp_path, capsys, described, kinds, places, how):
    runs = [make(tmp_path, state, *what) for state, *what, _ in described]
    for run, (state, *_, facts) in zip(runs, described, strict=True):
        if state:
            write_status(run, facts)
    arguments = [f"runs_dir={tmp_path}", f"which={kinds}", f"how={how}"]
    before = sorted(tmp_path.rglob("*"))
    assert exit_code(arguments, "lmablate.clean") == 0
    dry = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    listed = {line.split()[3] for line in dry.splitlines()[:-1]}  # after kind, size and unit
    assert [place for place, run in enumerate(runs) if run.id in listed] == places
    assert dry.splitlines()[-1].startswith(
        f"{len(places)} run{'' if len(places) == 1 else 's'}, {len(places) * 1.5:.1f}"
    )
    assert exit_code([*arguments, "apply=true"], "lmablate.clean") == 0
    assert {run.id for run in all_runs(tmp_path)} == {run.id for i, run in enumerate(runs) if i not in places}
    hidden = {path.name for path in (tmp_path / HIDDEN).iterdir()} if (tmp_path / HIDDEN).exists() else set()
    assert hidden == ({runs[place].id for place in places} if how == "hide" else set())


def write_status(run: Run, facts: dict[str, object]) -> None:
    status = run.status()
    run.set_status(**{**status, **facts, "state": status["state"]})


# What else may lie in a folder of runs, made from a failed run's folder.
def a_copy(run: Run) -> None:
    shutil.copytree(run.folder, run.folder.with_name("my-copy"))
    shutil.rmtree(run.folder)


def a_link(run: Run) -> None:
    elsewhere = run.folder.parent.with_name("elsewhere")
    shutil.move(run.folder, elsewhere)
    run.folder.symlink_to(elsewhere)


def without_facts(run: Run) -> None:
    run.facts_path.unlink()


def with_damaged_facts(run: Run) -> None:
    run.facts_path.write_text('{"id": ')


def with_other_facts(run: Run) -> None:
    run.facts_path.write_text('{"identity": {}}')


def without_a_version(run: Run) -> None:
    run.facts_path.write_text(f'{{"id": "{run.id}", "identity": {{"code_version": "1"}}}}')


def hidden_by_its_name(run: Run) -> None:
    run.folder.rename(run.folder.with_name(f".{run.id}"))


def below_another_folder(run: Run) -> None:
    (run.folder.parent / "mine").mkdir()
    run.folder.rename(run.folder.parent / "mine" / run.id)


def a_file(run: Run) -> None:
    shutil.rmtree(run.folder)
    run.folder.write_text("notes")


OTHERS = [
    a_copy, a_link, without_facts, with_damaged_facts, with_other_facts, without_a_version, hidden_by_its_name,
    below_another_folder, a_file,
]  # fmt: skip


@pytest.mark.parametrize("change", OTHERS)
def test_what_is_no_run_stays(tmp_path, capsys, change):
    runs_dir = tmp_path / "runs"
    change(make(runs_dir, "failed"))
    (runs_dir / "notes.txt").write_text("mine")
    (runs_dir / ".jobs").mkdir()
    before = {path: path.lstat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    for how in ("hide", "delete"):
        assert exit_code([f"runs_dir={runs_dir}", f"how={how}", "apply=true"], "lmablate.clean") == 0
    assert {path: path.lstat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


def hold(path: Path, held: Event) -> None:
    with locked(path):
        held.set()
        time.sleep(60)


@pytest.mark.parametrize("kill", [False, True])
def test_a_run_that_is_locked_stays_until_its_holder_is_gone(tmp_path, capsys, kill):
    run = make(tmp_path, "failed")
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold, args=(run.folder / ".lock", held))
    process.start()
    assert held.wait(30)
    if kill:
        process.kill()
        process.join()
    assert exit_code([f"runs_dir={tmp_path}", "how=delete", "apply=true"], "lmablate.clean") == 0
    printed = capsys.readouterr()
    process.kill()
    process.join()
    assert run.folder.exists() != kill
    assert printed.out.splitlines()[-1] == ("1 run, 1.5 MB: deleted." if kill else "0 runs, 0.0 MB: deleted.")
    assert ("is left alone: it is being trained" in printed.err) != kill


@pytest.mark.parametrize("state", ["running", "done", "failed", "preempted"])
def test_a_run_that_was_trained_meanwhile_stays(tmp_path, state):
    run = make(tmp_path, "failed")
    (useless,) = find_useless(tmp_path, KINDS)
    run.set_status(state)
    assert dispose(useless, delete=True) == "it has changed meanwhile"
    assert run.status()["state"] == state


def test_a_failed_run_that_slurm_has_queued_stays(tmp_path, monkeypatch):
    run = make(tmp_path, "failed")
    write_status(run, {"slurm_job_id": "12_3"})
    monkeypatch.setattr(slurm, "user_jobs", lambda: {"12_3": "PENDING"})
    assert find_useless(tmp_path, KINDS) == []


def test_a_kill_while_files_are_deleted_leaves_no_half_of_a_run(tmp_path, monkeypatch):
    run = make(tmp_path, "failed")

    def killed(folder: Path) -> None:
        (folder / "status.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(disposal.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        dispose(find_useless(tmp_path, KINDS)[0], delete=True)
    assert all_runs(tmp_path) == []
    assert [path.name for path in (tmp_path / HIDDEN).iterdir()] == [run.id]


def test_a_run_that_fails_again_is_hidden_beside_the_first_one(tmp_path):
    run = Run(tmp_path / "")
    for _ in range(3):
        run = make(tmp_path, "failed")
        assert dispose(find_useless(tmp_path, KINDS)[0], delete=False) is None
    assert {path.name for path in (tmp_path / HIDDEN).iterdir()} == {run.id, f"{run.id}~2", f"{run.id}~3"}
    os.rename(tmp_path / HIDDEN / run.id, run.folder)
    assert all_runs(tmp_path) == [run]


def test_the_checkpoints_of_a_finished_run_are_no_runs(tmp_path):
    run = make(tmp_path, "done")
    before = sorted(tmp_path.rglob("*"))
    assert exit_code([f"runs_dir={run.checkpoints}", "apply=true"], "lmablate.clean") == 0
    assert sorted(tmp_path.rglob("*")) == before


MISTAKES = [
    (["which=x"], "which=x is not allowed: 'x' is not known; name some of failed, died, superseded"),
    (["which="], "'' is not known"),
    (["which=failed,"], "'' is not known"),
    (["which=failed died"], "'failed died' is not known"),
    (["which=done"], "'done' is not known"),
    (["which=running"], "'running' is not known"),
    (["how=burn"], "how=burn is not allowed: choose one of hide, delete"),
    (["apply=yes"], "apply=yes is not allowed: it must be true or false"),
    (["runs_dir=nowhere"], "runs_dir=nowhere is not a folder"),
    (["runs_dir=/dev/null"], "runs_dir=/dev/null is not a folder"),
    (["aply=true"], "did you mean apply=...?"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_gets_one_sentence(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert exit_code(arguments, "lmablate.clean") == 2
    assert words in capsys.readouterr().err
