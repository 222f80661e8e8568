"""The parts of a page that a script writes: between `<!-- mark -->` and `<!-- end of mark -->`."""

import re
from collections.abc import Sequence


def replaced(page: str, mark: str, lines: Sequence[str]) -> str:
    """Return the text of a page with other lines between two marks.

    Raises:
        ValueError: if the page does not have these marks once.
    """
    marks = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.DOTALL)
    text, count = marks.subn(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], page)
    if count != 1:
        raise ValueError(f"the page has {count} places marked {mark}, not one")
    return text
