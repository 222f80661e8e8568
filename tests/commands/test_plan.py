"""`python -m lmablate.plan`."""

import re
from pathlib import Path

import pytest

from tests.tiny import exit_code, overrides

SWEEP = ["-m", "model/pos=rope,nope", "seed=0,1"]


def planned(arguments: list[str], capsys: pytest.CaptureFixture[str], program: str = "lmablate.plan") -> list[str]:
    """Return the lines of a plan, without the times, which are measured, and without the table's frame."""
    assert exit_code(arguments, program) == 0
    rows = re.findall(r"^│(.*)│[^│]*│$|^(\w.*)$", capsys.readouterr().out, re.MULTILINE)
    return [re.sub(r"[\d.]+ (s|min|h|days)\b", "...", " ".join("".join(row).split())) for row in rows]


def test_a_plan_counts_the_runs_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = planned([*overrides(tmp_path), *SWEEP], capsys)
    assert [line.split()[0] for line in lines[:2]] == ["pos=rope", "pos=nope"]
    assert " ".join(lines[2:]).startswith("4 runs, 0 done, 4 to do: ")
    assert not list((tmp_path / "runs").glob("*/status.json"))


def test_a_plan_counts_what_is_done(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tiny) == 0
    capsys.readouterr()
    assert "2 runs, 1 done, 1 to do: " in " ".join(planned([*tiny, "-m", "seed=0,1"], capsys))


def test_a_plan_of_the_learning_rate_search_counts_its_first_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = [*overrides(tmp_path), "+lr_sweep=true", "scale.lrs='1e-6,1.0,30.0'"]
    lines = planned(search, capsys)
    assert "3 runs, 0 done, 3 to do" in " ".join(lines)
    assert [line.split()[0] for line in lines[:3]] == ["optim.lr=1e-06", "optim.lr=1", "optim.lr=30"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [SWEEP, ["+lr_sweep=true"]], ids=" ".join)
def test_train_with_plan_prints_the_same(more: list[str], tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    as_command = planned([*tiny, *more], capsys)
    assert len(as_command) >= 3
    assert planned([*tiny, *more, "+plan=true"], capsys, "lmablate.train") == as_command
