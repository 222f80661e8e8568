"""`python -m lmablate.figures` prints an experiment's table, and saves its figures."""

from pathlib import Path

import pytest

from tests.tiny import command


@pytest.mark.slow
def test_the_command_prints_the_table_and_the_path_of_the_main_figure(exports: Path, tmp_path: Path) -> None:
    done = command(["experiment=pos", f"exports={exports}", f"out={tmp_path}"], "lmablate.figures")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "pos" / "overview.png")
    assert "none (NoPE)" in done.stdout
    assert {path.suffix for path in (tmp_path / "pos").iterdir()} == {".png", ".svg"}
