"""hydra/launcher=local_parallel: each job runs in its own process, and its failure leaves the others alone."""

import json
import os
import signal
from pathlib import Path

import pytest

from hydra_plugins.lmablate_launchers._sweep import error_line
from hydra_plugins.lmablate_launchers.local_parallel import LocalParallelLauncher, available_cores
from tests.launchers.app import LITTER
from tests.launchers.helpers import is_alive, own_project, wait_until
from tests.tiny import command, overrides

LASTING = ("+steps=2000", "+seconds_per_step=0.02")


def processes(sweep, *names: str) -> list[int]:
    return [int(pid) for name in names for _, pid, _ in sweep.starts(name)]


def test_every_job_runs_once_in_its_own_process(local_sweep):
    assert local_sweep.run("+name=a,b,c", "+seed=0") == 0, local_sweep.output
    assert all(local_sweep.steps(name) == [1] for name in "abc")
    assert len(set(processes(local_sweep, *"abc"))) == 3
    assert "job 1/3 +name=a: done in" in local_sweep.output  # and not the override that all have in common
    assert "3 of 3 jobs done" in local_sweep.output


def test_output_goes_to_a_log_that_the_manifest_names(local_sweep):
    assert local_sweep.run("+name=a,b") == 0, local_sweep.output
    assert "a line from" not in local_sweep.output
    for job, name in zip(local_sweep.jobs(), "ab", strict=True):
        assert f"a line from {name}" in Path(job["log"]).read_text()
        assert f"+name={name}" in job["overrides"]
        assert (Path(job["folder"]) / ".hydra" / "overrides.yaml").exists()


def test_a_failure_is_reported_at_once_and_at_the_end_and_the_other_jobs_run(local_sweep):
    assert local_sweep.run("+name=a", "+go_wrong=raise,exit,kill,crash,vanish,exit_0,null", "+seed=0") == 1
    assert "2 of 7 jobs done" in local_sweep.output
    for reason in ("ValueError: it went wrong on two lines", "NonZeroExit: the job called sys.exit(3)"):
        assert local_sweep.output.count(reason) >= 2
    assert "+go_wrong=kill: killed by SIGKILL" in local_sweep.output
    assert "+go_wrong=crash: killed by SIGSEGV" in local_sweep.output
    assert "+go_wrong=vanish: ended with exit code 0 and no result" in local_sweep.output
    assert local_sweep.jobs()[0]["log"] in local_sweep.output
    assert "Traceback" not in local_sweep.output


@pytest.mark.slow
def test_nothing_that_a_job_leaves_behind_reaches_the_next_one(local_sweep):
    kinds = ",".join(f"'{kind}'" for kind in LITTER)
    assert local_sweep.run("+name=a", f"+litter={kinds}", "hydra.launcher.n_jobs=1") == 0, local_sweep.output
    traces = [json.loads(line) for line in (local_sweep.folder / "runs" / "a" / "traces.txt").read_text().splitlines()]
    assert len(traces) == len(LITTER)
    for kind in LITTER:
        assert all(seen[kind] == traces[0][kind] for seen in traces), kind


def test_if_the_process_that_starts_jobs_is_killed_its_jobs_fail_and_the_others_run(local_sweep):
    local_sweep.start("+name=a,b", "hydra.launcher.n_jobs=1", *LASTING)
    local_sweep.wait_for_step("a", 3)
    (job,) = processes(local_sweep, "a")
    os.kill(int(Path(f"/proc/{job}/stat").read_text().rsplit(")")[1].split()[1]), signal.SIGKILL)
    local_sweep.wait_for_step("b", 3)
    assert not is_alive(job)


def test_n_jobs_at_a_time_with_their_share_of_threads(local_sweep):
    jobs = ("hydra.launcher.n_jobs=2", "hydra.launcher.threads_per_job=3")
    local_sweep.start("+name=a,b,c", *jobs, *LASTING)
    for name in "ab":
        local_sweep.wait_for_step(name, 3)
    assert local_sweep.starts("c") == []
    assert [threads for name in "ab" for _, _, threads in local_sweep.starts(name)] == ["3", "3"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_jobs_save_and_the_same_command_resumes(local_sweep, signum, code):
    local_sweep.start("+name=a,b", "+steps=30", "+seconds_per_step=0.05")
    for name in "ab":
        local_sweep.wait_for_step(name, 3)
    local_sweep.signal(signum)
    assert local_sweep.wait(timeout=20) == code
    assert [local_sweep.state(name) for name in "ab"] == ["preempted", "preempted"]
    assert not any(map(is_alive, processes(local_sweep, *"ab")))
    assert local_sweep.run("+name=a,b", "+steps=30") == 0, local_sweep.output
    assert all(local_sweep.steps(name) == list(range(1, 31)) for name in "ab")


def test_no_job_outlives_a_launcher_that_is_killed(local_sweep):
    local_sweep.start("+name=a,b", *LASTING)
    for name in "ab":
        local_sweep.wait_for_step(name, 3)
    local_sweep.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, processes(local_sweep, *"ab"))), timeout=20)
    assert [local_sweep.state(name) for name in "ab"] == ["preempted", "preempted"]


@pytest.mark.parametrize("wrong", [{"n_jobs": 0}, {"n_jobs": "two"}, {"threads_per_job": -1}])
def test_a_bad_count_is_refused_by_name(wrong):
    (key,) = wrong
    with pytest.raises(ValueError, match=f"hydra.launcher.{key}={wrong[key]!r} is not allowed"):
        LocalParallelLauncher(**wrong)


def test_by_default_the_cores_are_divided_by_the_threads():
    cores = available_cores()
    assert cores >= 1
    assert LocalParallelLauncher().n_jobs == cores
    assert LocalParallelLauncher(threads_per_job=cores).n_jobs == 1
    assert LocalParallelLauncher(threads_per_job=10 * cores).n_jobs == 1


@pytest.mark.parametrize(
    ("traceback", "line"),
    [
        ('Traceback (most recent call last):\n  File "x"\n    f()\nValueError: no', "ValueError: no"),
        ('Traceback:\n  File "x"\n    f()\n    ^^^\na.b.MyError: one\ntwo', "MyError: one two"),
        ('Traceback:\n  File "x"\n    f()\nKeyError', "KeyError"),
        ("ValueError: on its own", "ValueError: on its own"),
    ],
)
def test_error_line(traceback, line):
    assert error_line(traceback) == line


@pytest.mark.slow
def test_a_class_of_ones_own_gives_the_bits_of_the_basic_launcher(tmp_path: Path) -> None:
    project = own_project(tmp_path)
    sweep = [*overrides(tmp_path), "model/pos=mine,rope", "seed=0,1"]
    weights = []
    for launcher in ("local_parallel", "basic"):
        arguments = ["-m", f"hydra/launcher={launcher}", *sweep, f"runs_dir={tmp_path / launcher}"]
        refused = command(arguments, cwd=project)
        assert "_target_=ours.pos.Mine is refused" in refused.stderr
        assert refused.returncode == 2
        done = command([*arguments, "--trust", "ours"], cwd=project)
        assert done.returncode == 0, done.stderr
        runs = sorted((tmp_path / launcher).glob("*/checkpoints/step_*/model.safetensors"))
        weights.append({path.relative_to(tmp_path / launcher): path.read_bytes() for path in runs})
    assert len({path.parts[0] for path in weights[0]}) == 4
    assert weights[0] == weights[1]
