"""What a user types about figures: metrics, factors, limits and formats, each a list with commas."""

import math
from collections.abc import Mapping
from typing import get_args

from lmablate.errors import UserError
from lmablate.results.plots.style import STEPS, Format


def parse_list(key: str, text: str | None) -> list[str]:
    """Return the parts of `text` between its commas; none for None.

    Raises:
        UserError: if a part is empty or there twice.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"{key}={text} is not allowed: it has an empty part; separate names by single commas.")
    for part in parts:
        if parts.count(part) > 1:
            raise UserError(f"{key}={text} is not allowed: {part} is there twice.")
    return parts


def parse_formats(text: str) -> list[Format]:
    """Return the formats that `text` names.

    Raises:
        UserError: if one is unknown.
    """
    known: tuple[Format, ...] = get_args(Format)
    parts = parse_list("format", text)
    for part in parts:
        if part not in known:
            raise UserError(f"format={part} is not allowed: choose from {', '.join(known)}, several with commas.")
    return [form for form in known if form in parts]


def parse_limits(text: str | None) -> Mapping[str, tuple[float | None, float | None]]:
    """Return the limits by metric: "val/loss:4:6,step::1000" is from 4 to 6, and steps up to 1000.

    Raises:
        UserError: if a part is not METRIC:LOW:HIGH, or its numbers are not finite and ascending.
    """
    limits = {}
    for part in parse_list("limits", text):
        name, *ends = part.rsplit(":", 2)
        shape = f"limits={part} is not allowed: write METRIC:LOW:HIGH, or {STEPS}:LOW:HIGH; one end may be empty."
        if len(ends) != 2 or not name or ends == ["", ""]:
            raise UserError(shape)
        try:
            low, high = (float(end) if end else None for end in ends)
        except ValueError:
            raise UserError(shape) from None
        if any(end is not None and not math.isfinite(end) for end in (low, high)):
            raise UserError(f"limits={part} is not allowed: both ends must be finite.")
        if low is not None and high is not None and low >= high:
            raise UserError(f"limits={part} is not allowed: {low:g} must be below {high:g}.")
        if name in limits:
            raise UserError(f"limits={text} is not allowed: {name} is there twice.")
        limits[name] = (low, high)
    return limits
