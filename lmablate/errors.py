"""The errors that end a command with one sentence instead of a traceback."""

import sys


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


def print_error(message: str) -> None:
    """Print one sentence to stderr, in the form that all commands share."""
    print(f"lmablate: {message}", file=sys.stderr)
