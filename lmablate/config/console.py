"""What all commands share: their output, and how they end after a mistake, an interruption or a closed pipe."""

import ast
import codecs
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from lmablate.errors import UserError, print_error

HELP_FLAGS = {"--help", "-h"}
# What stands for a character that the output's encoding does not have; "?" stands for all others.
PLAIN_FORMS = {
    "±": "+-", "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~",
    "…": "...", "²": "^2", "³": "^3", "‘": "'", "’": "'", "“": '"', "”": '"', "α": "alpha", "β": "beta", "Δ": "Delta",
    "σ": "sigma", "∞": "inf", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip


def _plain_forms(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded; an error handler in the sense of `codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN_FORMS.get(character, "?") for character in unknown), error.end


def degrade_characters() -> None:
    """Let this process print any text: a character that the output's encoding does not have gets a plainer form.

    What is printed to a stream that the shell has closed (`>&-`) is lost.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it stays open as long as the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error("lmablate.plain", _plain_forms)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a notebook's stream has none, and needs none
            reconfigure(errors="lmablate.plain")


# What every command takes besides its own arguments, for --help.
COMMON_FLAGS = """\
Every command takes these, too:

  --config-dir FOLDER   a folder of your own yaml files, which are found before lmablate's
  --trust PACKAGE       a package whose classes a config may name; LMABLATE_TRUST=PACKAGE,... does the same"""


def typed_arguments() -> list[str]:
    """Return the arguments of this process as text in UTF-8, which Python does not decode under an ASCII locale."""
    return [_as_utf8(argument) for argument in sys.argv[1:]]


def _as_utf8(argument: str) -> str:
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def docstring_of(task: Callable[..., Any], class_name: str | None = None) -> str:
    """Return the docstring of a command's module, or of a class in it; Python drops them under -OO, the file does not.

    Args:
        task: the function of the command.
        class_name: the name of the class.
    """
    tree = ast.parse(Path(task.__code__.co_filename).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return ast.get_docstring(classes[class_name] if class_name else tree) or ""


def asks_for_help(arguments: list[str]) -> bool:
    """Return whether a command line asks for its help."""
    return not HELP_FLAGS.isdisjoint(arguments)


@contextmanager
def command_ending(describe: Callable[[Exception], str | None] = lambda error: None) -> Iterator[None]:
    """Run a command's body, and end the process with one sentence and a fixed exit code if it does not succeed.

    The exit code is 2 after a mistake by the user or an error of the file system, and 128 + N after signal N: 130 after
    Ctrl-C, 141 if the reader of a pipe is gone.

    Args:
        describe: returns the sentence for an exception that is a mistake by the user but no UserError, else None.
    """
    degrade_characters()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(141)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # rich ends the process itself, with exit code 1
            sys.exit(141)
        raise
    except KeyboardInterrupt:
        print_error("interrupted.")
        sys.exit(130)
    except UserError as error:
        _end(str(error))
    except OSError as error:
        _end(describe(error) or f"{error.filename or 'a file'}: {error.strerror or error}.")
    except Exception as error:
        sentence = describe(error)
        if sentence is None:
            raise
        _end(sentence)


def _end(sentence: str) -> NoReturn:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    print_error(sentence)
    sys.exit(2)


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that Python does not report the closed pipe again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
