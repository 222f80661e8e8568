"""`python -m lmablate.status`."""

import pytest

from tests.tiny import exit_code


def test_status_tells_done_runs_from_missing_ones(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tiny) == 0
    assert exit_code(tiny, "lmablate.status") == 0
    assert "1 done" in capsys.readouterr().out
    assert exit_code([*tiny, "seed=0,1"], "lmablate.status") == 1
    assert "1 missing" in capsys.readouterr().out


def test_the_status_of_a_folder_lists_every_run_in_it(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tiny) == 0
    runs_dir = next(override for override in tiny if override.startswith("runs_dir=")).removeprefix("runs_dir=")
    capsys.readouterr()
    assert exit_code([runs_dir], "lmablate.status") == 0
    printed = capsys.readouterr().out
    assert "-s0-" in printed
    assert "12/12" in printed
    assert "1 done" in printed


def test_a_folder_that_does_not_exist_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["/nowhere"], "lmablate.status") == 2
    assert capsys.readouterr().err.startswith("lmablate: /nowhere is not a folder")
