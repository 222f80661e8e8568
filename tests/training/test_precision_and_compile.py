"""`train.precision=bf16` and `train.compile=true` train to the loss of the plain run."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests import tiny


def losses(folder: Path, *overrides: str) -> list[float]:
    """Training losses of the tiny run, from the command line: torch.compile wants code without shape checks."""
    done = tiny.command([*tiny.overrides(folder), *overrides])
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^(\S+)  val/loss", done.stdout, re.MULTILINE)
    assert printed, done.stdout
    run = Path(printed[1])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["train/loss"] for row in rows if "train/loss" in row]


TODAY = [
    "model/norm=peri", "model/attn=mqa", "model/qk_norm=rms", "model/values=residual", "model/scores=cap",
    "model/gate=head", "model/mixer=canon", "model/residual=x0", "optim=muon", "loss=z",
]  # fmt: skip
FEWER = ["model/logits=cap", "model/bias=all", "model/dropout=branches"]  # apart: each part adds to the time to compile


@pytest.mark.slow
@pytest.mark.parametrize(
    "arm",
    [
        [],
        pytest.param(
            ["model/norm=post", "model.norm.kind=layernorm", "model/pos=alibi", "model/act=relu2"],
            marks=pytest.mark.faults,
        ),
        TODAY,
        pytest.param(FEWER, marks=pytest.mark.faults),
    ],
)
def test_bf16_learns_what_float32_learns(arm, tmp_path):
    exact, half = losses(tmp_path, *arm), losses(tmp_path, *arm, "train.precision=bf16")
    assert len(half) == len(exact) == 12
    assert half == pytest.approx(exact, rel=0.01)
    assert half != exact, "autocast changed nothing"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize(
    ("precision", "arm"),
    [
        ("fp32", TODAY),
        pytest.param("fp32", [], marks=pytest.mark.faults),  # each takes a minute or two
        pytest.param("bf16", [], marks=pytest.mark.faults),
        pytest.param("fp32", FEWER, marks=pytest.mark.faults),
    ],
)
def test_a_compiled_step_is_the_eager_one(precision, arm, tmp_path):
    settings = [f"train.precision={precision}", *arm]
    eager, compiled = losses(tmp_path, *settings), losses(tmp_path, *settings, "train.compile=true")
    assert compiled == pytest.approx(eager, rel=1e-4 if precision == "fp32" else 0.01)
