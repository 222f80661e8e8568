"""How commands end: the exit code and the sentence for each way; the table's next way is one line."""

import os
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from lmablate.config.console import command_ending
from lmablate.errors import UserError


def _raise(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def _print_by_rich() -> None:
    Console(width=80).print("x" * 100)


def _print() -> None:
    print("x" * 100_000)


ENDINGS = [
    (_raise(UserError("seed=x is not allowed.")), 2, "seed=x is not allowed."),
    (_raise(FileNotFoundError(2, "No such file or directory", "/a")), 2, "/a: No such file or directory."),
    (_raise(OSError(28, "No space left on device")), 2, "a file: No space left on device."),
    (_raise(KeyboardInterrupt()), 130, "interrupted."),
    (_raise(BrokenPipeError(32, "Broken pipe")), 141, None),
    (_raise(SystemExit(7)), 7, None),
    (_raise(SystemExit(0)), 0, None),
]


@pytest.mark.parametrize(("body", "code", "sentence"), ENDINGS)
def test_a_command_ends_with_a_code_and_a_sentence(
    body: Callable[[], None], code: int, sentence: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving, command_ending():
        body()
    assert leaving.value.code == code
    assert capfd.readouterr().err == (f"lmablate: {sentence}\n" if sentence else "")


@pytest.mark.parametrize("body", [_print, _print_by_rich])
def test_a_reader_who_is_gone_is_exit_code_141(body: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as leaving, command_ending():
            body()
        assert leaving.value.code == 141
