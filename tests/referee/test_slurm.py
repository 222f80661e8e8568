"""The judge's runs as jobs of a real SLURM cluster."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launchers.conftest import slurm_cluster  # noqa: F401 (a fixture)
from tests.referee.helpers import judge
from tests.referee.test_compare import arms_of, counting_script, executions

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm_cluster")]
KEYS = ["launcher=slurm", "slurm=timeout_min=5"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_jobs_and_the_verdict_is_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = arms_of(counting_script(here), "same", "worse")
    assert judge(*arguments, *KEYS) == 0
    assert len(executions(here)) == len({*executions(here)}) == 16
    assert "8 runs, 8 of them now." in capsys.readouterr().out
    assert judge(*arguments) == 0
    assert "8 runs, 0 of them now." in capsys.readouterr().out


def test_a_killed_judge_finds_its_jobs_again(here: Path) -> None:
    arguments = [*arms_of(counting_script(here), "same", "worse"), *KEYS]
    process = subprocess.Popen([sys.executable, "-m", "lmablate.judge", *arguments])
    deadline = time.monotonic() + 120
    while not list(here.glob("judge/runs/*/slurm.txt")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert judge(*arguments) == 0
    assert len(executions(here)) == len({*executions(here)}) == 16


def test_resources_that_slurm_refuses_get_one_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(*arms_of(counting_script(here), "same", "worse"), "launcher=slurm", "slurm=partition=none") == 2
    assert "the job cannot be submitted" in capsys.readouterr().err
