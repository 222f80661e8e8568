import signal
import subprocess
from pathlib import Path

import pytest

from tests.launchers.helpers import Sweep


@pytest.fixture
def local_sweep(tmp_path):
    sweep = Sweep(tmp_path, "local_parallel")
    yield sweep
    if sweep.process and sweep.process.poll() is None:
        sweep.signal(signal.SIGTERM)
        sweep.process.communicate()


@pytest.fixture
def slurm_sweep(tmp_path, slurm_cluster):
    sweep = Sweep(tmp_path, "slurm")
    yield sweep
    if sweep.process and sweep.process.poll() is None:
        sweep.signal(signal.SIGKILL)
        sweep.process.communicate()
    for job in sweep.jobs():
        subprocess.run(["scancel", "--quiet", job["job_id"]], check=False)


@pytest.fixture(scope="session")
def slurm_cluster():
    try:
        subprocess.run(["sinfo"], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("SLURM is not installed (scripts/slurm_cluster.sh up)")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("sinfo gets no answer (scripts/slurm_cluster.sh up)")


@pytest.fixture(scope="session")
def our_cluster(slurm_cluster):
    """For tests that break the cluster: never someone else's."""
    config = subprocess.run(["scontrol", "show", "config"], text=True, capture_output=True).stdout
    settings = {key.strip(): value.strip() for key, _, value in (s.partition("=") for s in config.splitlines())}
    if settings.get("ClusterName") != "lmablate":
        pytest.skip("the cluster is not that of scripts/slurm_cluster.sh")
    return settings


@pytest.fixture
def preemption_by_sigterm(our_cluster):
    """As most clusters are set up: the signal that a job has asked for is not sent when it is preempted."""
    config = Path(our_cluster["SLURM_CONF"])
    before = config.read_text()
    config.write_text(before.replace("SlurmctldParameters=preempt_send_user_signal\n", ""))
    subprocess.run(["scontrol", "reconfigure"], check=True)
    yield
    config.write_text(before)
    subprocess.run(["scontrol", "reconfigure"], check=True)
