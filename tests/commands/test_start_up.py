"""What a command must not import: it would make everybody wait, some for seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT, overrides

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "wandb", "numba")
# Runs argv[2:] as a command, and prints which of the modules in argv[1] it has imported.
PROGRAM = """
import runpy, sys
modules, sys.argv = sys.argv[1].split(","), sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    print("imported:", *(name for name in modules if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["lmablate.train", "--help"], HEAVY),
        (["lmablate.train", "--cfg", "job"], HEAVY),
        (["lmablate.train", "train.max_stepz=3"], HEAVY),
        (["lmablate.status", "--help"], tuple({*HEAVY} - {"pandas"})),
        (["lmablate.judge", "--help"], HEAVY),
        (["lmablate.train", "train.max_steps=1", "RUN"], (*HEAVY[1:], "torch._dynamo")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_does_not_import(arguments: list[str], unwanted: tuple[str, ...], tmp_path: Path) -> None:
    if arguments[-1] == "RUN":  # with a tokenizer already trained, as on every start but the first
        arguments = [arguments[0], *overrides(tmp_path), "optim.warmup_steps=0", *arguments[1:-1]]
        subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True, cwd=ROOT)
        arguments = [*arguments, "seed=1"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(unwanted), *arguments],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "imported:", done.stderr
