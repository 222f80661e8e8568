"""Every command explains itself."""

import re

import pytest

from tests.test_structure import COMMANDS
from tests.tiny import exit_code


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_a_command_answers_help_with_its_own_text(name: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([flag], f"lmablate.{name}") == 0
    text = capsys.readouterr().out
    first = re.search(r"python -m lmablate\.(\w+)", text)
    assert first, text
    assert first[1] == name
    assert "--trust PACKAGE" in text
    examples = re.findall(rf"^  python -m lmablate\.{name}[^\[\n]*\n {{6,}}\S", text, re.MULTILINE)
    assert len(examples) >= 2, text


def test_help_wins_over_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["experiment=norm_location", "--help"], "lmablate.plan") == 0
    assert "python -m lmablate.plan" in capsys.readouterr().out


def test_the_help_of_train_lists_groups_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"model/pos +alibi learned nope nope_every partial_rope rope sin yarn\n", text)
    assert re.search(r"hydra/launcher +basic local_parallel slurm", text)
    assert "C01_llama_beats_vanilla" not in text
    assert text.count("python -m lmablate.train") >= 3
    for command in ("plan", "lr_sweep", "audit", "tune", "decide"):
        assert f"python -m lmablate.{command}" in text
