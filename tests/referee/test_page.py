"""docs/judge.md as typed: each command runs, here with a script that takes milliseconds in place of the example's."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.referee.helpers import judge
from tests.tiny import ROOT

PAGE = (ROOT / "docs" / "judge.md").read_text()
TYPED = re.findall(r"^    python -m lmablate\.judge (.+)$", PAGE.replace("\\\n", ""), re.MULTILINE)
SCRIPT = """
import random, sys
arguments = sys.argv[1:]
seed = int(arguments[arguments.index("--seed") + 1])
worse = 1.0 if "--lr" in arguments else 0.0
print("val loss", 3 + worse + random.Random(str(arguments)).random() / 100)
"""


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "results.csv").write_text("arm,seed,loss\nx,0,1\nx,1,2\ny,0,3\ny,1,4.5\n")
    assert len(TYPED) >= 5
    codes = [judge(*shlex.split(line.replace("python ", f"{sys.executable} "))) for line in TYPED]
    assert codes[:2] == [0, 0]
    assert set(codes) <= {0, 3, 4, 5}


@pytest.mark.parametrize("row", re.findall(r"^\| (\d) \| ", PAGE, re.MULTILINE))
def test_the_exit_codes_of_the_page_are_those_of_the_help(row: str) -> None:
    text = subprocess.run(
        [sys.executable, "-m", "lmablate.judge", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert re.search(rf"\b{row}\b (if|after)", text)


@pytest.mark.parametrize(
    ("options", "looks", "code"),
    [
        pytest.param(("", "--lr 1e-3"), 3, 0, marks=pytest.mark.slow),
        pytest.param(("", "--act gelu_tanh"), 5, 3, marks=pytest.mark.faults),
        pytest.param(("", "--stream 1"), 2, 4, marks=pytest.mark.faults),
    ],
)
def test_the_known_pairs_of_the_example_get_their_verdicts(
    options: tuple[str, str], looks: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text((ROOT / "examples" / "train.py").read_text())
    commands = [f"{name}={sys.executable} train.py {o} --seed {{seed}}" for name, o in zip("ab", options, strict=True)]
    assert judge(*commands, "metric=log:val loss ([0-9.]+)", f"looks={looks}", "margin=0.01", "jobs=2") == code


def test_the_command_starts_without_statistics_torch_and_hydra() -> None:
    heavy = "('torch', 'hydra', 'scipy', 'pandas', 'numpy', 'wandb', 'matplotlib')"
    program = f"import sys, lmablate.judge; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_verdict_needs_neither_torch_nor_hydra() -> None:
    modules = ", ".join(f"lmablate.referee.{name}" for name in ("compare", "noise", "foreign", "sessions"))
    program = f"import sys, {modules}; print([m for m in ('torch', 'hydra', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
