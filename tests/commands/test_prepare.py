"""`python -m lmablate.prepare`."""

from pathlib import Path

from tests.tiny import command, overrides


def test_the_same_command_twice_says_the_same(tmp_path: Path) -> None:
    tiny = overrides(tmp_path)
    first, second = command(tiny, "lmablate.prepare"), command(tiny, "lmablate.prepare")
    assert first.returncode == second.returncode == 0, first.stderr
    assert "train.bin" in first.stdout
    assert first.stdout == second.stdout
    assert "encoding" in first.stderr
    assert "encoding" not in second.stderr


def test_bad_input_ends_in_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    tiny = overrides(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"abc\xff")
    failed = command(tiny, "lmablate.prepare")
    assert failed.returncode == 2
    assert "train.txt is not UTF-8: byte 3 " in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
