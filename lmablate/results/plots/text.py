"""Text that a figure shows as it is, whatever it says, and that fits where it stands."""

import unicodedata
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font

# matplotlib brings this font, so letters look the same everywhere.
FONT = "DejaVu Sans"
# Matplotlib takes a label that begins with "_" for one that is to be hidden; behind this it does not see the "_".
INVISIBLE = "\N{ZERO WIDTH SPACE}"
ELLIPSIS = "…"
# Characters of a longer text that are tried at most.
LONGEST = 300


def drawn(text: str) -> str:
    """Return text that matplotlib draws as it is, on one line; every text of a user in a figure passes through here.

    A character that the font does not have, or that has no look, is spelled out by its number; a blank name stands in
    quotes. Formulas (`$x$`) are turned off in the style.
    """
    shown = "".join(c if c == " " or _has_look(c) else " " if c.isspace() else ascii(c)[1:-1] for c in text)
    if shown and not shown.strip():
        return f"'{shown}'"
    return INVISIBLE + shown if shown.startswith("_") else shown


@cache
def _has_look(character: str) -> bool:
    no_look = unicodedata.category(character)[0] in "CZ"
    return not no_look and get_font(findfont(FontProperties(family=FONT))).get_char_index(ord(character)) != 0


def width(text: str, size: float) -> float:
    """Return the width of one line of text in points, at a font size in points."""
    return size * sum(map(_advance, text))


@cache
def _advance(character: str) -> float:
    """Return how far the next character stands from this one, at a font size of 1."""
    font = get_font(findfont(FontProperties(family=FONT)))
    font.set_size(100, 72)
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


def fitted(text: str, room: float, size: float, lines: int = 1) -> str:
    """Return `drawn` text on at most `lines` lines, its middle left out if it is too long.

    Args:
        text: the text.
        room: the width of a line, in points.
        size: the font size, in points.
        lines: the most lines.
    """
    shown = drawn(text)
    if width(shown, size) <= room:
        return shown
    kept = min(len(shown), LONGEST)
    while True:
        half = kept // 2
        candidate = shown if kept >= len(shown) else shown[: kept - half] + ELLIPSIS + shown[len(shown) - half :]
        broken = _broken(candidate, room, size)
        if len(broken) <= lines or kept <= 2:
            return "\n".join(broken[:lines])
        kept = min(kept - 1, int(kept * 0.95))


def _broken(text: str, room: float, size: float) -> list[str]:
    """Break text into lines no wider than `room`, between words if that is possible."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer, size) <= room:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for character in word:
            if lines[-1] and width(lines[-1] + character, size) > room:
                lines.append("")
            lines[-1] += character
    return lines
