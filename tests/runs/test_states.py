"""The state of a run, from its status, the processes of this machine, and SLURM's queue."""

import os
import subprocess
import time

import pytest

from lmablate.runs.job_list import JobEntry, append_jobs
from lmablate.runs.run import Run
from lmablate.runs.states import collect_states, process_is_alive

OVERRIDES = ["model/pos=rope", "seed=0"]


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, {"config": {}}, "tiny-s0", "")


def state_of(run, runs_dir):
    (state,) = collect_states([(run, "pos=rope s0", " ".join(sorted(OVERRIDES)))], runs_dir)
    return state


@pytest.mark.parametrize("state", ["done", "preempted", "failed"])
def test_a_final_state_is_that_of_the_file(run, tmp_path, state):
    run.set_status(state, step=3, max_steps=10, error="why")
    found = state_of(run, tmp_path)
    assert (found.run, found.arm, found.state, found.step, found.max_steps) == (run.id, "pos=rope s0", state, 3, 10)
    assert found.detail == "why"


def test_a_run_without_a_status_is_missing(run, tmp_path):
    assert state_of(run, tmp_path).state == "missing"


def test_a_run_whose_process_is_alive_is_running(run, tmp_path):
    run.set_status("running", step=3, max_steps=10, seconds_left=60.0)
    found = state_of(run, tmp_path)
    assert (found.state, found.seconds_left) == ("running", 60.0)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"pid": 2**22 + 1}, "process 4194305 has ended"),  # the kernel's largest process id is 2**22
        ({"host": "elsewhere", "heartbeat": -3600}, "no heartbeat for 60 min"),
        ({"heartbeat": -3600}, "no heartbeat for 60 min"),
    ],
)
def test_a_run_that_ended_without_a_final_status_has_died(run, tmp_path, facts, reason):
    if "heartbeat" in facts:  # seconds from now: a whole run of the tests may lie between collecting and running one
        facts = facts | {"heartbeat": time.time() + facts["heartbeat"]}
    run.set_status("running", **facts)
    found = state_of(run, tmp_path)
    assert (found.state, found.detail, found.seconds_left) == ("died", reason, None)


def test_a_run_elsewhere_with_a_fresh_heartbeat_is_running(run, tmp_path):
    run.set_status("running", host="elsewhere", pid=2**22 + 1)
    assert state_of(run, tmp_path).state == "running"


def test_the_errors_of_all_ranks_are_named(run, tmp_path):
    run.set_status("failed", error="lost a peer")
    run.set_status("failed", rank=2, error="KeyError: 'x'")
    assert state_of(run, tmp_path).detail == "lost a peer; rank2: KeyError: 'x'"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Replaces `squeue` by a program that lists the given jobs, as SLURM prints them."""

    def install(*lines: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "squeue"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return install


@pytest.mark.parametrize("before", [None, "failed", "preempted"])
def test_a_run_that_slurm_has_not_started_is_waiting(run, tmp_path, queue, before):
    queue("12_3 15 PENDING", "12_4 16 RUNNING")
    if before:
        run.set_status(before)
    sweep = tmp_path / ".jobs" / "2026-11-24" / "10-00-00"
    sweep.mkdir(parents=True)
    append_jobs(sweep, [JobEntry(0, "12_3", "SlurmLauncher", OVERRIDES[::-1], "", "", "")])
    found = state_of(run, tmp_path)
    assert (found.state, found.detail) == ("waiting", "SLURM job 12_3")


@pytest.mark.parametrize(("job", "state"), [("12_3", "running"), ("15", "running"), ("99", "died")])
def test_a_run_lives_as_long_as_its_slurm_job(run, tmp_path, queue, job, state):
    queue("12_3 15 RUNNING")
    run.set_status("running", slurm_job_id=job, host="elsewhere")
    found = state_of(run, tmp_path)
    assert found.state == state
    assert found.detail == ("SLURM job 99 has ended" if state == "died" else "")


def test_without_an_answer_from_slurm_a_run_is_not_taken_for_dead(run, tmp_path, queue):
    queue()
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\necho 'cannot connect' >&2\nexit 1\n")
    run.set_status("running", slurm_job_id="99", host="elsewhere")
    assert state_of(run, tmp_path).state == "running"


@pytest.mark.parametrize("launcher", [None, "LocalParallelLauncher"])
def test_slurm_is_not_asked_about_runs_that_it_was_never_given(run, tmp_path, queue, launcher):
    queue()
    (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    sweep = tmp_path / ".jobs" / "2026-11-24" / "10-00-00"
    sweep.mkdir(parents=True)
    if launcher:
        append_jobs(sweep, [JobEntry(0, "0", launcher, OVERRIDES, "", "", "")])
    run.set_status("running")
    assert state_of(run, tmp_path).state == "running"
    assert not (tmp_path / "asked").exists()


def test_only_processes_of_this_machine_are_alive():
    assert process_is_alive(os.getpid())
    assert process_is_alive(1)
    child = subprocess.Popen(["true"])
    child.wait()
    assert not process_is_alive(child.pid)
    assert not process_is_alive(None)
    assert not process_is_alive(2**70)
