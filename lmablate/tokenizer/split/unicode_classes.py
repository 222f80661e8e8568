"""The frozen table of letters, numbers and whitespace, in terms of which the pattern is defined.

The table is the file unicode_classes.txt, which scripts/freeze_unicode_classes.py wrote.
"""

import functools
from pathlib import Path

import numpy as np

VERSION = 1

LETTER, NUMBER, OTHER, WHITESPACE = 0, 1, 2, 3
_CODES = {"L": LETTER, "N": NUMBER, "W": WHITESPACE}


@functools.cache
def class_table() -> np.ndarray:
    """Return the class of every code point: uint8 [0x110000], read-only."""
    table = np.full(0x110000, OTHER, np.uint8)
    header, *lines = Path(__file__).with_suffix(".txt").read_text(encoding="ascii").splitlines()
    if not header.startswith(f"# version {VERSION};"):
        raise RuntimeError(f"the table of Unicode classes is not version {VERSION}: {header!r}")
    for line in lines:
        letter, first, last = line.split()
        table[int(first, 16) : int(last, 16) + 1] = _CODES[letter]
    table.flags.writeable = False
    return table
