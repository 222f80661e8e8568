"""Limits and scale of vertical axes: common to several panels unless that would flatten one of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lmablate.errors import UserError
from lmablate.results.plots.arms import LARGEST
from lmablate.results.plots.ticks import tick_values

# Labels of lines that choose no limits: values before smoothing, which may be cut off, and lines that are no values.
# A label that begins with "_" is in no legend.
RAW, NOTE = "_raw", "_note"
# An axis that spans more than this number of powers of ten is logarithmic.
LOG_DECADES = 1.0
# Panels have a common axis if the values of each fill at least this part of it.
FLATTENED = 0.25
# Raw values that need an axis of more than so many times the length that the curves need are cut off.
RAW_ROOM = 1.6


@dataclass(frozen=True)
class _Extent:
    """The lowest and the highest value of some curves."""

    low: float
    high: float

    def __or__(self, other: "_Extent") -> "_Extent":
        return _Extent(min(self.low, other.low), max(self.high, other.high))

    @property
    def is_log(self) -> bool:
        return self.low > 0 and math.log10(self.high) - math.log10(self.low) > LOG_DECADES

    def length(self, log: bool) -> float:
        return math.log10(self.high) - math.log10(self.low) if log else self.high - self.low

    def with_margin(self) -> tuple[float, float]:
        """Return limits that show the whole extent."""
        if self.is_log:
            margin = 10 ** (0.05 * self.length(log=True))
            return max(self.low / margin, 1 / LARGEST**2), self.high * margin
        if self.low == self.high == 0:
            return -0.05, 1.0  # of a fraction that is zero, this is the whole range
        margin = 0.05 * (self.high - self.low) or 0.05 * abs(self.high)
        return self.low - margin, self.high + margin


def set_scales(
    panels: Sequence[Axes], given: tuple[float | None, float | None] = (None, None), metric: str = ""
) -> list[str]:
    """Set limits that hold every curve and band, and ticks; the scale is logarithmic if the limits are far apart.

    Args:
        panels: panels that show the same metric.
        given: the limits, None for an end that the values choose.
        metric: its name.

    Returns:
        Sentences for the note below the figure.

    Raises:
        UserError: if the given limits leave nothing between them.
    """
    extents = [_values_of(axes) for axes in panels]
    known = [extent for extent in extents if extent]
    notes = []
    if known:
        whole = known[0]
        for extent in known:
            whole = whole | extent
        varied = [extent for extent in known if extent.high > extent.low]
        flattened = any(extent.length(whole.is_log) < FLATTENED * whole.length(whole.is_log) for extent in varied)
        own = flattened and given == (None, None)
        if own:
            notes.append("The panels have different vertical axes.")
        for axes, extent in zip(panels, extents, strict=True):
            shown = (extent or whole) if own else whole
            if _set_limits(axes, shown, given, metric):
                notes.append("The highest of the pale lines are cut off.")
        if not own:
            _hide_inner_ticks(panels)
    for axes in panels:
        tick_values(axes, axes.yaxis)
    return [*dict.fromkeys(notes)]


def _set_limits(axes: Axes, extent: _Extent, given: tuple[float | None, float | None], metric: str) -> bool:
    """Set the limits of one panel; return whether its raw values go beyond them."""
    raw = _finite([line.get_ydata() for line in axes.get_lines() if line.get_label() == RAW])
    if len(raw):
        everything = extent | _Extent(float(raw.min()), float(raw.max()))
        most = extent | _Extent(*map(float, np.percentile(raw, [0.5, 99.5])))
        log = extent.is_log
        fits = everything.low > 0 or not log
        extent = everything if fits and everything.length(log) <= RAW_ROOM * extent.length(log) else most
    low, high = extent.with_margin()
    low, high = low if given[0] is None else given[0], high if given[1] is None else given[1]
    if low >= high:
        raise UserError(f"limits={metric} from {low:g} to {high:g} are not allowed: the lower one must be below.")
    if low > 0 and math.log10(high) - math.log10(low) > LOG_DECADES:
        axes.set_yscale("log")
    axes.set_ylim(low, high)
    return bool(len(raw)) and given == (None, None) and bool(raw.max() > high or raw.min() < low)


def _values_of(axes: Axes) -> _Extent | None:
    """Return the extent of a panel's curves and bands; None if it has none."""
    lines = [line.get_ydata() for line in axes.get_lines() if line.get_label() not in (RAW, NOTE)]
    bands = [np.asarray(path.vertices)[:, 1] for band in axes.collections for path in band.get_paths()]
    values = _finite([*lines, *bands])
    return _Extent(float(values.min()), float(values.max())) if len(values) else None


def _finite(parts: Sequence[object]) -> NDArray[np.float64]:
    values = np.concatenate([np.zeros(0), *(np.asarray(part, dtype=float).ravel() for part in parts)])
    return values[np.isfinite(values)]


def _hide_inner_ticks(panels: Sequence[Axes]) -> None:
    """Leave numbers only at the first of the panels that stand side by side."""
    rows = set()
    for axes in panels:
        place = axes.get_subplotspec()
        assert place
        axes.tick_params(labelleft=place.rowspan.start not in rows)
        rows.add(place.rowspan.start)
