"""Tables and lines on the terminal, in which no text of a user has a meaning of its own."""

import sys

from rich.console import Console


def open_console(width: int) -> Console:
    """Return a console that prints text as it is: brackets are no markup, `:smile:` is no emoji.

    Args:
        width: in characters, if the output is not a terminal.
    """
    return Console(width=None if sys.stdout.isatty() else width, highlight=False, markup=False, emoji=False)
