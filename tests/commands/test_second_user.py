"""Whoever only reads needs no permission to write: a second user, with another uid, uses what the first has made."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import ROOT, SMALL, exit_code, write_corpus

NOBODY = 65_534
# The interpreter may lie in a folder of the first user, so the second one may read everything, and write nothing of it.
BECOME = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]  # fmt: skip


def can_become() -> bool:
    return os.geteuid() == 0 and bool(shutil.which("setpriv")) and subprocess.run([*BECOME, "true"]).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_become(), reason="only root can start a process of another user, by setpriv"),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A folder with data and a finished run of the first user, in which the second one may only read."""
    folder = Path("/tmp") / f"lmablate-shared-{os.getpid()}"  # pytest's own folders are closed to other users
    folder.mkdir(mode=0o755)
    assert exit_code([*overrides(folder), "train.max_steps=1"]) == 0
    assert exit_code([f"runs_dir={folder / 'runs'}", f"out={folder / 'exports'}"], "lmablate.export") == 0
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def own() -> Iterator[Path]:
    """The second user's own folder."""
    folder = Path("/tmp") / f"lmablate-second-{os.getpid()}"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def overrides(folder: Path) -> list[str]:
    return [*SMALL, *write_corpus(folder), f"runs_dir={folder / 'runs'}"]


def as_second_user(arguments: list[str], program: str, own: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as the second user, in that user's own folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(own), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    run = [*BECOME, sys.executable, "-m", program, *arguments]
    return subprocess.run(run, capture_output=True, text=True, cwd=own, env=environment, timeout=300)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        ("train", ["train.max_steps=1"], "val/loss"),
        ("train", ["train.max_steps=1", "name=another_experiment"], "not recorded as a part of another_experiment"),
        ("train", ["-m", "hydra/launcher=basic", "train.max_steps=1", "seed=0"], "val/loss"),
        ("train", ["-m", "train.max_steps=1", "seed=0"], "val/loss"),
        ("train", ["train.max_steps=2", "runs_dir=mine"], "val/loss"),
        ("plan", ["train.max_steps=1"], "1 run, 1 done"),
        ("audit", ["train.max_steps=1"], "Arms at step 0"),
        ("status", ["train.max_steps=1"], "1 done"),
        ("prepare", [], "tokens of"),
    ],
)
def test_the_second_user_reads_data_and_runs(
    program: str, arguments: list[str], words: str, shared: Path, own: Path
) -> None:
    typed = [f"data.{split}={shared / split}.txt" for split in ("train", "valid")]
    base = [*SMALL, "data=text", *typed, f"data_dir={shared / 'data'}", f"runs_dir={shared / 'runs'}"]
    keys = {argument.split("=")[0] for argument in arguments}
    before = files(shared)
    out = as_second_user([*(o for o in base if o.split("=")[0] not in keys), *arguments], f"lmablate.{program}", own)
    assert out.returncode == 0, out.stderr
    assert words in out.stdout + out.stderr or program == "train"
    assert "Traceback" not in out.stderr
    assert files(shared) == before


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("evaluate", ["run=RUN"]),
        ("generate", ["run=RUN", "max_tokens=3"]),
        ("export_hf", ["run=RUN", "out=hf"]),
        ("export", ["runs_dir=SHARED/runs", "out=exports"]),
        ("figures", ["exports=SHARED/exports", "out=figures"]),
        ("status", ["SHARED/runs"]),
    ],
)
def test_the_second_user_reads_a_run(program: str, arguments: list[str], shared: Path, own: Path) -> None:
    (run,) = (path for path in (shared / "runs").iterdir() if path.name != ".jobs")
    before = files(shared)
    typed = [argument.replace("RUN", str(run)).replace("SHARED", str(shared)) for argument in arguments]
    out = as_second_user(typed, f"lmablate.{program}", own)
    assert out.returncode == 0, out.stderr
    assert "Traceback" not in out.stderr
    assert files(shared) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.max_steps=2"], "runs_dir="),
        (["train.max_steps=1", "tokenizer.vocab_size=290"], "data_dir="),
    ],
)
def test_what_the_second_user_would_have_to_write_is_refused_in_one_sentence(
    arguments: list[str], words: str, shared: Path, own: Path
) -> None:
    typed = [f"data.{split}={shared / split}.txt" for split in ("train", "valid")]
    base = [*SMALL, "data=text", *typed, f"data_dir={shared / 'data'}", f"runs_dir={shared / 'runs'}"]
    keys = {argument.split("=")[0] for argument in arguments}
    before = files(shared)
    out = as_second_user([*(o for o in base if o.split("=")[0] not in keys), *arguments], "lmablate.train", own)
    assert out.returncode == 2
    assert words in out.stderr.splitlines()[-1]
    assert "cannot be written to" in out.stderr
    assert files(shared) == before
