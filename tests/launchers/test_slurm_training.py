"""The real trainer on a real SLURM cluster (scripts/slurm_cluster.sh up)."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launchers.helpers import own_project, wait_until
from tests.tiny import ROOT, command, overrides

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm_cluster")]

SLURM = ["-m", "hydra/launcher=slurm", "hydra.launcher.poll_seconds=1"]
LONG = ["train.max_steps=1500", "train.checkpoint_every=100", "train.eval_every=1000", "train.log_every=10"]
ENDLESS = ["train.max_steps=1000000", "train.checkpoint_every=100", "train.eval_every=10000", "train.log_every=100"]


def folders(runs_dir: Path) -> list[Path]:
    return sorted(path.parent for path in runs_dir.glob("*/run.json"))


def last_checkpoint(run: Path) -> Path | None:
    return max((run / "checkpoints").glob("step_*[0-9]"), default=None)


def weights(runs_dir: Path) -> dict[str, bytes]:
    """The last checkpoint's weights of every run, by its id."""
    newest = {run.name: last_checkpoint(run) for run in folders(runs_dir)}
    return {name: (path / "model.safetensors").read_bytes() for name, path in newest.items() if path}


def rows(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in lines]


def status(run: Path) -> dict:
    return json.loads((run / "status.json").read_text())


def is_under_way(run: Path) -> bool:
    return last_checkpoint(run) is not None and status(run)["state"] == "running"


def call(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()


def start(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lmablate.train", *SLURM, *arguments],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def resumed_at(runs_dir: Path) -> list[int]:
    """The steps at which the jobs' logs say that a run resumed."""
    logs = (path.read_text() for path in runs_dir.rglob("*_log.out"))
    return [int(step) for log in logs for step in re.findall(r"resumes at step (\d+) of", log)]


def test_a_sweep_gives_the_bits_of_the_basic_launcher(tmp_path: Path) -> None:
    sweep = [*overrides(tmp_path), "model/pos=rope,sin,learned,nope", "seed=0,1"]
    on_slurm = command([*SLURM, *sweep])
    assert on_slurm.returncode == 0, on_slurm.stderr
    basic = command(["-m", "hydra/launcher=basic", *sweep, f"runs_dir={tmp_path / 'basic'}"])
    assert basic.returncode == 0, basic.stderr
    trained = weights(tmp_path / "runs")
    assert len(trained) == 8
    assert trained == weights(tmp_path / "basic")


def test_a_class_of_ones_own_gives_the_same_bits_on_the_cluster(tmp_path: Path) -> None:
    project = own_project(tmp_path)
    sweep = [*overrides(tmp_path), "model/pos=mine,rope", "seed=0"]
    on_slurm = command([*SLURM, *sweep], cwd=project, LMABLATE_TRUST="ours")
    assert on_slurm.returncode == 0, on_slurm.stderr
    basic = command(
        ["-m", "hydra/launcher=basic", *sweep, f"runs_dir={tmp_path / 'basic'}", "--trust", "ours"], cwd=project
    )
    assert basic.returncode == 0, basic.stderr
    trained = weights(tmp_path / "runs")
    assert len(trained) == 2
    assert trained == weights(tmp_path / "basic")


# What may happen to a sweep of two runs, while the first of them is under way as `job`.


def cancel(job: str, launcher: subprocess.Popen) -> None:
    call("scancel", job)


def requeue(job: str, launcher: subprocess.Popen) -> None:
    call("scontrol", "requeue", job)


def lose_the_node(job: str, launcher: subprocess.Popen) -> None:
    node = call("squeue", "--noheader", f"--jobs={job}", "--format=%N")
    call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")


def restart_the_controller(job: str, launcher: subprocess.Popen) -> None:
    call("scontrol", "shutdown", "slurmctld")
    wait_until(lambda: subprocess.run(["sinfo"], capture_output=True).returncode != 0)
    call(str(ROOT / "scripts/slurm_cluster.sh"), "up", "--nodes", "2")


def kill_the_launcher(job: str, launcher: subprocess.Popen) -> None:
    launcher.kill()


def preempt(job: str, launcher: subprocess.Popen) -> None:
    call("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, slurm_cluster) -> tuple[list[str], Path]:
    """The arguments of a sweep of two runs, and the folder where the basic launcher has trained them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arguments = [*overrides(folder), *LONG, "seed=0,1"]
    done = command(["-m", "hydra/launcher=basic", *arguments])
    assert done.returncode == 0, done.stderr
    return arguments, folder / "runs"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(cancel, 1), (requeue, 0), (lose_the_node, 0), (restart_the_controller, 0), (kill_the_launcher, -9), (preempt, 0)],
)
def test_whatever_happens_the_runs_end_in_the_same_bits(fault, code, undisturbed, our_cluster, tmp_path) -> None:
    arguments, expected = undisturbed
    arguments = [*arguments, f"runs_dir={tmp_path}", "hydra.launcher.partition=low"]
    launcher = start(arguments)
    first = tmp_path / folders(expected)[0].name
    wait_until(lambda: first.is_dir() and is_under_way(first))
    fault(status(first)["slurm_job_id"], launcher)
    output = launcher.communicate(timeout=200)[0]
    assert launcher.returncode == code, output
    if fault is kill_the_launcher:
        wait_until(lambda: [status(run)["state"] for run in folders(tmp_path)] == ["done", "done"])
    if fault is cancel:
        again = start(arguments)
        output = again.communicate(timeout=200)[0]
        assert again.returncode == 0, output
    assert weights(tmp_path) == weights(expected)
    assert [rows(run) for run in folders(tmp_path)] == [rows(run) for run in folders(expected)]
    interrupted = fault not in (restart_the_controller, kill_the_launcher)
    assert bool(resumed_at(tmp_path)) == interrupted  # at a checkpoint, never at the start


@pytest.mark.slow
def test_a_run_that_reaches_its_time_limit_twice_writes_each_step_once(tmp_path: Path) -> None:
    limits = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20"]
    launcher = start([*overrides(tmp_path), *ENDLESS, *limits, "seed=0"])
    wait_until(lambda: len(set(resumed_at(tmp_path))) == 2, 400)
    (run,) = folders(tmp_path / "runs")
    wait_until(lambda: is_under_way(run))
    call("scancel", status(run)["slurm_job_id"])
    launcher.communicate(timeout=60)
    steps = [row["step"] for row in rows(run)]
    assert steps == sorted(set(steps))
    assert set(steps) >= set(range(100, max(resumed_at(tmp_path)), 100))


def test_two_nodes_give_the_curve_of_one_process(tmp_path: Path) -> None:
    arguments = [*overrides(tmp_path), "train.max_steps=50", "train.eval_every=10", "train.checkpoint_every=10"]
    alone = command([*arguments, f"runs_dir={tmp_path / 'alone'}"])
    assert alone.returncode == 0, alone.stderr
    together = command([*SLURM, "hydra.launcher.nodes=2", *arguments, "seed=0"])
    assert together.returncode == 0, together.stderr
    assert_same_curve(tmp_path / "alone", tmp_path / "runs")


def test_killed_on_two_nodes_it_resumes_in_one_process(tmp_path: Path) -> None:
    arguments = [*overrides(tmp_path), *LONG]
    alone = command([*arguments, f"runs_dir={tmp_path / 'alone'}"])
    assert alone.returncode == 0, alone.stderr
    launcher = start(["hydra.launcher.nodes=2", *arguments, "seed=0"])
    wait_until(lambda: any(map(is_under_way, folders(tmp_path / "runs"))))
    (run,) = folders(tmp_path / "runs")
    os.kill(status(run)["pid"], signal.SIGKILL)
    output = launcher.communicate(timeout=120)[0]
    assert launcher.returncode == 1, output
    step = int(str(last_checkpoint(run)).rsplit("_")[-1])
    assert 100 <= step < 1500
    resumed = command(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumes at step {step} of 1,500 steps" in resumed.stdout + resumed.stderr
    assert_same_curve(tmp_path / "alone", tmp_path / "runs", rel=1e-2)  # rounding grows over 1,500 steps


def assert_same_curve(one: Path, two: Path, rel: float = 2e-4) -> None:
    pairs = list(zip(rows(folders(one)[0]), rows(folders(two)[0]), strict=True))
    for a, b in pairs:
        assert a["step"] == b["step"]
        for key in a.keys() & {"train/loss", "val/loss"}:
            assert b[key] == pytest.approx(a[key], rel=rel), (a["step"], key)


def test_status_names_each_failure_with_its_reason(tmp_path: Path) -> None:
    """One run diverges, one is killed as the kernel kills for want of memory, the other two are done."""
    arguments = [*overrides(tmp_path), *LONG, "optim.lr=0.01,1e30", "seed=0,1"]
    launcher = start(arguments)
    under_way: list[Path] = []
    wait_until(lambda: under_way.extend(run for run in folders(tmp_path / "runs") if is_under_way(run)) or under_way)
    os.kill(status(under_way[0])["pid"], signal.SIGKILL)
    output = launcher.communicate(timeout=200)[0]
    assert launcher.returncode == 1
    assert "1 of 4 jobs done" in output, output
    assert output.count("diverged at step") >= 2
    assert "killed by SIGKILL" in output
    shown = command(arguments, "lmablate.status")
    assert shown.returncode == 1
    assert "1 done" in shown.stdout, shown.stdout
    assert "2 failed" in shown.stdout
    assert "1 died" in shown.stdout
    assert "diverged at step" in shown.stdout


def test_a_second_invocation_skips_what_the_first_is_training(tmp_path: Path) -> None:
    arguments = [*overrides(tmp_path), *LONG, "seed=0,1"]
    first = start(arguments)
    wait_until(lambda: sum(map(is_under_way, folders(tmp_path / "runs"))) == 2)
    second = command(["-m", "hydra/launcher=local_parallel", *arguments])
    assert second.returncode == 0, second.stderr
    output = first.communicate(timeout=200)[0]
    assert first.returncode == 0, output
    for run in folders(tmp_path / "runs"):
        steps = [row["step"] for row in rows(run)]
        assert steps == sorted(set(steps))
        assert steps[-1] == 1500


def test_status_shows_a_cancelled_run(tmp_path: Path) -> None:
    arguments = [*overrides(tmp_path), *ENDLESS, "seed=3"]
    assert command([*SLURM, *arguments, "hydra.launcher.detach=true"]).returncode == 0
    wait_until(lambda: any(map(is_under_way, folders(tmp_path / "runs"))))
    (run,) = folders(tmp_path / "runs")
    job = status(run)["slurm_job_id"]
    subprocess.run(["scancel", "--signal=KILL", job], check=False)
    call("scancel", job)
    wait_until(lambda: re.search("1 (died|preempted)", command(arguments, "lmablate.status").stdout), 60)
    assert command(arguments, "lmablate.status").returncode == 1
