"""A sentence to a user is one printable line of moderate length; each table's next input is one line."""

import errno

import pytest

from lmablate.errors import one_line, print_error, reason


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("seed=x is not allowed.", "seed=x is not allowed."),
        ("  a\n", "a"),
        ("name='a\nb'", "name='a\\nb'"),
        ("a\r\nb", "a\\r\\nb"),
        ("a\tb", "a\\tb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x07bell", "\\x07bell"),
        ("\udcff", "\\udcff"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\u2028separator", "\\u2028separator"),
        ("日本 é 🙂 ±", "日本 é 🙂 ±"),
        ("back\\slash", "back\\slash"),
        ("", ""),
    ],
)
def test_a_sentence_is_one_printable_line(message: str, line: str) -> None:
    assert one_line(message) == line


@pytest.mark.parametrize("length", [10, 579, 580, 581, 5000, 10**6])
@pytest.mark.parametrize("character", ["x", "\n", "日"])
def test_a_long_sentence_keeps_its_beginning_and_its_end(
    length: int, character: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_error(f"name={character * length} is not allowed: at most 100 characters.")
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 600
    assert line.startswith("lmablate: name=")
    assert line.endswith("is not allowed: at most 100 characters.")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b"), "No such file or directory"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "Permission denied"),
        (OSError("Invalid loaded object type: int"), "Invalid loaded object type: int"),
        (ValueError("first\n  second."), "first second"),
        (ValueError(), ""),
    ],
)
def test_the_reason_for_a_failure_is_one_line_without_numbers_and_paths(error: Exception, words: str) -> None:
    assert reason(error) == words
