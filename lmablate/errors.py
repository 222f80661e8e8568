"""The errors that end a command with one sentence instead of a traceback, and the wording of sentences."""

import sys

# Characters of a sentence to a user, of which the first and the last are shown if it is longer: a value may be of any
# length, and what is allowed stands behind it.
_LONGEST = 580
_FIRST, _LAST = 360, 200


class UserError(ValueError):
    """A mistake in the user's input. Its message is one clear sentence."""


class Diverged(Exception):
    """The loss or a gradient is not finite.

    Attributes:
        step: the first step at which that happened.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"diverged at step {step}")
        self.step = step


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 run", "2 runs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, with two digits or as a whole number: "30 s", "2.5 min", "14 h"."""
    for length, unit in ((86_400 * 2, "days"), (3600, "h"), (60, "min")):
        size = 86_400 if unit == "days" else length
        if seconds >= length:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def reason(error: Exception) -> str:
    """Return why something failed, in one line: for an error of the file system its words, without number and path."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()).rstrip(".")


def one_line(message: str) -> str:
    """Return a message as one line of moderate length, in which a character that does not print is an escape.

    Whatever a user has typed, or a file holds, may be in it: line breaks, a terminal's control sequences, megabytes.
    """
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message.strip(" \n"))
    return text if len(text) <= _LONGEST else f"{text[:_FIRST]} [...] {text[-_LAST:]}"


def print_error(message: str) -> None:
    """Print one sentence to stderr, in the form that all commands share."""
    print(f"lmablate: {one_line(message)}", file=sys.stderr)
