"""`python -m lmablate.audit`."""

import json
from pathlib import Path

import pytest

from tests.tiny import exit_code


def test_the_audit_finds_what_tying_does_at_init(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = ["model/tying=true,false", "model/init=cs336", "model.d_model=128"]
    assert exit_code([*tiny, *arms, f"out={tmp_path / 'audit.json'}"], "lmablate.audit") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "warning tying=true starts at" in words
    assert "the arms differ in parameters: tying=false has" in words
    assert "2 runs, 0 done, 2 to do" in words
    written = json.loads((tmp_path / "audit.json").read_text())
    assert [arm["name"] for arm in written["arms"]] == ["tying=true", "tying=false"]
    assert any("starts at" in warning for warning in written["warnings"])
    assert "runs_dir=" not in written["command"]
    assert exit_code([*tiny, *arms, f"out={tmp_path / 'audit.json'}"], "lmablate.audit") == 0, (
        "a newer version of itself"
    )


@pytest.mark.parametrize(
    "content",
    [
        "", "mine", "[]", "{}", '{"warnings": []}', '{"arms": [], "warnings": []}', '{"arms": [1], "warnings": 1}',
        '{"arms": [{"name": "another"}], "warnings": []}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_audit_of_these_arms_is_not_replaced(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "mine.json").write_text(content)
    typed = [*tiny, "model/tying=true,false", f"out={tmp_path / 'mine.json'}"]
    assert exit_code(typed, "lmablate.audit") == 2
    assert "mine.json exists already and is not an audit of one of these arms" in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == content
