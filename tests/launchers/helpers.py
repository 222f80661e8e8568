"""Start a sweep of the stand-in app, and read what its jobs left behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
APP = Path(__file__).with_name("app.py")


class Sweep:
    """The stand-in app, started as a user starts a sweep, and the traces that its jobs leave."""

    def __init__(self, folder: Path, launcher: str) -> None:
        self.folder = folder
        self.launcher = launcher
        self.process: subprocess.Popen | None = None
        self.output = ""
        self.seen = ""

    def start(self, *overrides: str) -> "Sweep":
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(APP), "--config-dir", str(ROOT / "conf"), "-m"),
                *(f"hydra/launcher={self.launcher}", f"hydra.sweep.dir={self.folder / 'sweep'}"),
                *(f"+folder={self.folder / 'runs'}", *overrides),
            ],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return self

    def wait(self, timeout: float = 120) -> int:
        assert self.process
        self.output = self.seen + self.process.communicate(timeout=timeout)[0]
        print(self.output)
        return self.process.returncode

    def read_until(self, text: str) -> None:
        """Read the launcher's output up to the line with this text."""
        assert self.process
        assert self.process.stdout
        for line in self.process.stdout:
            print(line, end="")
            self.seen += line
            if text in line:
                return
        raise AssertionError(f"the launcher ended without {text!r}")

    def run(self, *overrides: str) -> int:
        return self.start(*overrides).wait()

    def signal(self, signum: int) -> None:
        assert self.process
        self.process.send_signal(signum)

    def jobs(self) -> list[dict]:
        manifest = self.folder / "sweep" / "jobs.jsonl"
        return [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []

    def job_id(self, name: str) -> str:
        return next(job["job_id"] for job in reversed(self.jobs()) if f"+name={name}" in job["overrides"])

    def steps(self, name: str) -> list[int]:
        """Every step that the run has made, in order, repeated ones included."""
        return [int(line) for line in self._lines(name, "steps.txt")]

    def starts(self, name: str) -> list[list[str]]:
        """(rank, process id, OMP_NUM_THREADS) of every process that has started the run."""
        return [line.split() for line in self._lines(name, "starts.txt")]

    def state(self, name: str) -> str:
        return json.loads((self.folder / "runs" / name / "status.json").read_text())["state"]

    def wait_for_step(self, name: str, step: int, timeout: float = 60) -> None:
        wait_until(lambda: self.steps(name)[-1:] >= [step], timeout)

    def _lines(self, name: str, file: str) -> list[str]:
        path = self.folder / "runs" / name / file
        return path.read_text().splitlines() if path.exists() else []


OWN_CLASS = """import torch
from torch import Tensor, nn
from lmablate.model.pos import Position


class Mine(Position):
    def __init__(self, d_model: int, n_heads: int, context_length: int) -> None:
        super().__init__(d_model, n_heads, context_length)
        self.scale = nn.Parameter(torch.full((n_heads, 1, 1), 0.5))

    def bias(self, scores: Tensor) -> Tensor:
        return scores * self.scale
"""


def wait_until(condition, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout} s"
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def own_project(folder: Path) -> Path:
    """Write a project with a position encoding of its own, `model/pos=mine` of the package `ours`."""
    files = {
        "pyproject.toml": "[tool.lmablate]\n",
        "ours/__init__.py": "",
        "ours/pos.py": OWN_CLASS,
        "conf/model/pos/mine.yaml": "_target_: ours.pos.Mine\n_partial_: true\n",
    }
    for name, text in files.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "project"
