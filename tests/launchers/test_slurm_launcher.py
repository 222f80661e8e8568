"""hydra/launcher=slurm on a real cluster: the sweep reports the outcome of every job, also after faults."""

import signal
import subprocess
from pathlib import Path

import pytest

from lmablate.runs import slurm
from tests.launchers.helpers import ROOT, wait_until

pytestmark = pytest.mark.slurm

QUICK = "hydra.launcher.poll_seconds=0.5"
STEPS = 25
LASTING = (QUICK, f"+steps={STEPS}", "+seconds_per_step=0.2")


def call(*command: str) -> str:
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


def once_each(steps: list[int]) -> bool:
    return steps == list(range(1, STEPS + 1))


def with_at_most_one_repeated(steps: list[int]) -> bool:
    return sorted(set(steps)) == list(range(1, STEPS + 1)) and len(steps) <= STEPS + 1


def test_an_array_spreads_over_the_nodes(slurm_sweep):
    assert slurm_sweep.run("+name=a,b,c,d", *LASTING) == 0, slurm_sweep.output
    assert "4 of 4 jobs done" in slurm_sweep.output
    assert {"running on n1", "running on n2"} <= {line.split(": ")[-1] for line in slurm_sweep.output.splitlines()}
    assert all(once_each(slurm_sweep.steps(name)) for name in "abcd")
    assert len({job["job_id"].split("_")[0] for job in slurm_sweep.jobs()}) == 1


def test_a_single_job_needs_no_array(slurm_sweep):
    assert slurm_sweep.run("+name=a", QUICK) == 0, slurm_sweep.output
    assert slurm_sweep.state("a") == "done"


def test_threads_follow_the_cores(slurm_sweep):
    assert slurm_sweep.run("+name=a", QUICK, "hydra.launcher.cpus_per_task=2") == 0, slurm_sweep.output
    assert [threads for _, _, threads in slurm_sweep.starts("a")] == ["2"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "ValueError: it went wrong on two lines"),
        ("exit", "NonZeroExit: the job called sys.exit(3)"),
        ("kill", "killed by SIGKILL"),  # as by the kernel for want of memory
    ],
)
def test_a_failure_is_seen_by_the_sweep_and_by_slurm(slurm_sweep, how, reason):
    assert slurm_sweep.run("+name=a,b", f"+go_wrong={how}", QUICK) != 0
    assert "0 of 2 jobs done" in slurm_sweep.output
    assert slurm_sweep.output.count(reason) >= 2
    assert slurm_sweep.jobs()[0]["log"] in slurm_sweep.output
    assert "FAILED" in slurm.end_reason(slurm_sweep.job_id("a"))


def test_one_failure_leaves_the_others_alone(slurm_sweep):
    assert slurm_sweep.run("+name=a", "+go_wrong=null,raise,exit,exit_0", QUICK) != 0
    assert "2 of 4 jobs done" in slurm_sweep.output


def test_a_failure_of_rank_1_alone_is_a_failure(slurm_sweep):
    two_by_two = ("hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2")
    lasting = ("+steps=10000", "+seconds_per_step=0.1")
    assert slurm_sweep.run("+name=a", "+go_wrong=raise_on_rank_1", *two_by_two, *lasting, QUICK) != 0
    assert "rank 1: ValueError: it went wrong" in slurm_sweep.output
    assert {rank for rank, _, _ in slurm_sweep.starts("a")} == {"0", "1", "2", "3"}


def test_the_first_error_of_several_ranks_is_named(slurm_sweep):
    assert slurm_sweep.run("+name=a", "+go_wrong=raise_on_rank_0_later", "hydra.launcher.nodes=2", QUICK) != 0
    assert "rank 1: ValueError: it went wrong" in slurm_sweep.output


def test_a_cancelled_job_is_reported_and_the_same_command_finishes_it(slurm_sweep):
    slurm_sweep.start("+name=a,b", *LASTING).wait_for_step("a", 3)
    call("scancel", slurm_sweep.job_id("a"))
    assert slurm_sweep.wait() != 0
    assert "1 of 2 jobs done" in slurm_sweep.output
    assert "job 1/2 +name=a: lost, CANCELLED" in slurm_sweep.output
    assert slurm_sweep.state("a") == "preempted"
    assert slurm_sweep.run("+name=a,b", *LASTING) == 0, slurm_sweep.output
    assert once_each(slurm_sweep.steps("a"))


def test_a_job_cancelled_while_waiting_is_reported(slurm_sweep):
    slurm_sweep.start("+name=a,b", *LASTING, "hydra.launcher.array_parallelism=1").wait_for_step("a", 1)
    call("scancel", slurm_sweep.job_id("b"))
    assert slurm_sweep.wait() != 0
    assert "+name=b: lost, CANCELLED" in slurm_sweep.output


def test_a_requeued_job_resumes_where_it_was(slurm_sweep):
    slurm_sweep.start("+name=a,b", *LASTING).wait_for_step("a", 3)
    call("scontrol", "requeue", slurm_sweep.job_id("a"))
    assert slurm_sweep.wait() == 0, slurm_sweep.output
    assert len(slurm_sweep.starts("a")) == 2
    assert once_each(slurm_sweep.steps("a"))


def test_submitits_signal_requeues_a_job_of_several_ranks(slurm_sweep):
    slurm_sweep.start("+name=a", *LASTING, "hydra.launcher.nodes=2").wait_for_step("a", 3)
    call("scancel", "--signal=USR2", slurm_sweep.job_id("a"))
    assert slurm_sweep.wait() == 0, slurm_sweep.output
    assert sorted(rank for rank, _, _ in slurm_sweep.starts("a")) == ["0", "0", "1", "1"]
    assert once_each(slurm_sweep.steps("a"))


@pytest.mark.parametrize("signal_name", ["USR2", "TERM"])
def test_a_preempted_job_resumes_afterwards(slurm_sweep, our_cluster, signal_name, request):
    if signal_name == "TERM":
        request.getfixturevalue("preemption_by_sigterm")
    slurm_sweep.start("+name=a,b,c,d", *LASTING, "hydra.launcher.partition=low")
    for name in "abcd":
        slurm_sweep.wait_for_step(name, 3)
    call("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    assert slurm_sweep.wait() == 0, slurm_sweep.output
    assert all(slurm_sweep.starts(name)[1:] for name in "abcd")
    assert all(once_each(slurm_sweep.steps(name)) for name in "abcd")


def test_a_job_leaves_a_dead_node(slurm_sweep, our_cluster):
    slurm_sweep.start("+name=a", *LASTING).wait_for_step("a", 3)
    node = slurm.query_jobs([slurm_sweep.job_id("a")])[slurm_sweep.job_id("a")].nodes
    call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")  # until it registers again
    assert slurm_sweep.wait() == 0, slurm_sweep.output
    assert len(slurm_sweep.starts("a")) == 2
    assert with_at_most_one_repeated(slurm_sweep.steps("a"))


@pytest.mark.parametrize("mended", [True, pytest.param(False, marks=pytest.mark.faults)])
def test_a_job_that_no_node_can_start_is_tried_again_but_not_forever(slurm_sweep, our_cluster, mended):
    last = int(call("sbatch", "--parsable", "--output=/dev/null", "--wrap=true"))
    spools = Path(our_cluster["SlurmdSpoolDir"]).parent.glob("spool.*")
    in_the_way = [spool / f"job{last + 1:05}" for spool in spools]  # where slurmd makes the folder of the next job
    for path in in_the_way:
        path.touch()
    try:
        slurm_sweep.start("+name=a", "hydra.launcher.poll_seconds=2")
        wait_until(lambda: slurm_sweep.jobs())
        job = slurm_sweep.job_id("a")
        wait_until(lambda: slurm.query_jobs([job])[job].launch_failed)
        if not mended:
            slurm_sweep.read_until(f"to try again: scontrol release {job}")
    finally:
        for path in in_the_way:
            path.unlink()
    if not mended:
        slurm.release(job)
    assert slurm_sweep.wait() == 0, slurm_sweep.output
    assert "its node could not start it: released (try 1 of 3)" in slurm_sweep.output
    assert slurm_sweep.state("a") == "done"


def test_a_restarted_controller_is_waited_for(slurm_sweep, our_cluster):
    slurm_sweep.start("+name=a,b", *LASTING, "hydra.launcher.array_parallelism=1").wait_for_step("a", 3)
    call("scontrol", "shutdown", "slurmctld")
    slurm_sweep.wait_for_step("a", STEPS)
    nodes = sum(1 for _ in call("pgrep", "-f", f"slurmd -f {our_cluster['SLURM_CONF']} -N").splitlines())
    call(str(ROOT / "scripts/slurm_cluster.sh"), "up", "--nodes", str(nodes))
    assert slurm_sweep.wait() == 0, slurm_sweep.output
    assert all(once_each(slurm_sweep.steps(name)) for name in "ab")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGHUP, -1)])
def test_jobs_outlive_the_launcher(slurm_sweep, signum, code):
    slurm_sweep.start("+name=a,b", *LASTING).wait_for_step("a", 2)
    slurm_sweep.signal(signum)
    assert slurm_sweep.wait(timeout=10) == code
    assert signum != signal.SIGINT or "detached: the jobs continue" in slurm_sweep.output
    for name in "ab":
        slurm_sweep.wait_for_step(name, STEPS)
        wait_until(lambda name=name: slurm_sweep.state(name) == "done")


def test_detached_it_returns_at_once(slurm_sweep):
    assert slurm_sweep.run("+name=a,b", *LASTING, "hydra.launcher.detach=true") == 0, slurm_sweep.output
    assert not once_each(slurm_sweep.steps("a"))
    for name in "ab":
        slurm_sweep.wait_for_step(name, STEPS)


def test_what_sbatch_refuses_is_one_sentence(slurm_sweep):
    assert slurm_sweep.run("+name=a,b", "hydra.launcher.partition=nowhere") != 0
    assert "invalid partition specified: nowhere" in slurm_sweep.output
    assert "Traceback" not in slurm_sweep.output


@pytest.mark.slow
@pytest.mark.faults  # two minutes of waiting; test_slurm_training.py has the same with the trainer
def test_a_job_that_reaches_its_time_limit_twice_is_done_in_the_end(slurm_sweep):
    limits = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20")
    slurm_sweep.start("+name=a", f"+steps={STEPS}", "+seconds_per_step=4", QUICK, *limits)
    assert slurm_sweep.wait(timeout=400) == 0, slurm_sweep.output
    assert len(slurm_sweep.starts("a")) >= 3
    assert once_each(slurm_sweep.steps("a"))
