"""What SLURM answers about jobs, in words; one test needs a cluster."""

import subprocess
import sys
import time

import pytest

from lmablate.runs import slurm


@pytest.mark.parametrize(
    ("state", "exit_code", "words"),
    [
        ("CANCELLED", "0:0", "CANCELLED"),
        ("FAILED", "1:0", "FAILED, exit code 1"),
        ("FAILED", "0:9", "FAILED, killed by SIGKILL"),
        ("FAILED", "137:0", "FAILED, killed by SIGKILL"),
        ("OUT_OF_MEMORY", "0:125", "OUT_OF_MEMORY"),  # what SLURM writes; 125 is not a signal
        ("FAILED", "255:0", "FAILED, exit code 255"),
    ],
)
def test_an_end_is_described_by_its_signal_or_code(state, exit_code, words):
    assert slurm.describe_end(state, exit_code) == words


@pytest.mark.parametrize(
    ("job", "words", "ended"),
    [
        (slurm.QueuedJob("RUNNING", "None", "n[1-2]"), "running on n[1-2]", False),
        (slurm.QueuedJob("PENDING", "Priority", ""), "waiting", False),
        (slurm.QueuedJob("PENDING", "JobHeldUser", ""), "waiting (JobHeldUser)", False),
        (slurm.QueuedJob("COMPLETING", "None", "n1"), "completing", False),
        (slurm.QueuedJob("REQUEUE_HOLD", "None", ""), "requeue_hold", False),
        (slurm.QueuedJob("NODE_FAIL", "None", "n1"), "node_fail", True),
    ],
)
def test_a_queued_job_in_words(job, words, ended):
    assert str(job) == words
    assert job.ended is ended


def test_nothing_is_asked_about_no_jobs():
    assert slurm.query_jobs([]) == {}


def test_stop_signal_and_slurm_import_neither_hydra_nor_submitit_nor_torch():
    code = "import sys, lmablate.runs.slurm, lmablate.runs.stop_signal\n"
    code += "print({'hydra', 'submitit', 'torch'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.slurm
def test_a_job_from_its_submission_to_its_end():
    if not slurm.available():
        pytest.skip("SLURM is not installed (scripts/slurm_cluster.sh up)")
    submit = ["sbatch", "--parsable", "--array=0-1", "--output=/dev/null", "--wrap=sleep 30"]
    job_id = subprocess.check_output(submit, text=True).strip()
    tasks = [f"{job_id}_0", f"{job_id}_1"]
    assert set(slurm.query_jobs(tasks)) == set(tasks)
    subprocess.run(["scancel", job_id], check=True)
    deadline = time.monotonic() + 60
    while slurm.end_reason(tasks[0]).startswith(("RUNNING", "COMPLETING")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert slurm.end_reason(tasks[0]).startswith("CANCELLED")
    assert slurm.query_jobs(["99999999"]) == {}
    assert slurm.end_reason("99999999") == "unknown to SLURM by now"
