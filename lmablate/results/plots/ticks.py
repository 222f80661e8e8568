"""Numbers at the ticks of an axis, as a person writes them.

Steps and tokens: 500, 1k, 2.5M; k is a thousand, M a million, G a thousand millions, T a million millions.
Other values: 0.5, 12.5, 3000; a value of a million or more, or below a ten-thousandth, as 2.5·10⁻⁶.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, Formatter, Locator, MaxNLocator, NullLocator

from lmablate.results.plots.style import STYLE
from lmablate.results.plots.text import width

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
# Values in between are written without a power of ten.
SMALLEST, LARGEST = 1e-4, 1e6
RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
# Distances between ticks, up to a power of ten.
STEPS = (1, 2, 2.5, 5, 10)
# Fewer ticks than this do not show that an axis is logarithmic.
FEWEST_LOG_TICKS = 3
# What a power of ten is divided into if the powers alone are too few ticks, from coarse to fine.
DIVISIONS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
# Powers of ten are left out if there are more than this.
MOST_DECADES = 6
# How exact a number is at a tick where something was measured.
EXACT = 1e-9
# Distance between two numbers at an axis, in widths of a digit.
GAP = 1.0


class CountTicks(Formatter):
    """Numbers of steps or tokens."""

    def __call__(self, value: float, position: int | None = None) -> str:
        """Return one number."""
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the numbers at all ticks of an axis."""
        texts = []
        for value in values:
            unit, name = next((unit for unit in UNITS if abs(value) >= unit[0]), (1.0, ""))
            decimals = _decimals(tuple(value / unit for value in values))
            text = f"{value / unit:.{decimals}f}"
            texts.append((text.rstrip("0").rstrip(".") if decimals else text) + name)
        return texts


class ValueTicks(Formatter):
    """Other numbers, on a linear axis or a logarithmic one."""

    def __call__(self, value: float, position: int | None = None) -> str:
        """Return one number."""
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the numbers at all ticks of an axis."""
        largest = max((abs(value) for value in values), default=0.0)
        if isinstance(self.axis, Axis) and self.axis.get_scale() == "log":
            return [_spelled(value, _power_of(value), [value]) for value in values]
        return [_spelled(value, _power_of(largest), values) for value in values]


def _power_of(value: float) -> int:
    """Return the power of ten that a number is written with; 0 for none."""
    return 0 if value == 0 or SMALLEST <= abs(value) < LARGEST else math.floor(math.log10(abs(value)))


def _spelled(value: float, power: int, values: Sequence[float], precision: float = 1e-3) -> str:
    """Return a number with a power of ten, and with as many decimals as tell `values` apart."""
    unit = 10.0**power
    text = f"{value / unit:.{_decimals(tuple(each / unit for each in values), precision)}f}".replace("-", "−")
    if power == 0 or value == 0:
        return text if value else "0"
    return f"{text}·10{str(power).translate(RAISED)}"


# All ticks of an axis ask for the same values, and an axis is asked several times while a figure is laid out.
@lru_cache(maxsize=1024)
def _decimals(values: tuple[float, ...], precision: float = 1e-3) -> int:
    """Return the fewest decimals with which all values are right to this part of their distance."""
    distance = np.diff(np.unique(values)).min(initial=math.inf)
    allowed = precision * min(distance, max((abs(value) for value in values if value), default=1.0))
    return next((n for n in range(16) if all(abs(round(value, n) - value) <= allowed for value in values)), 15)


def tick_counts(axis: Axis) -> None:
    """Let an axis count steps or tokens: whole numbers."""
    axis.set_major_locator(MaxNLocator("auto", steps=STEPS, integer=True))
    axis.set_major_formatter(CountTicks())


def tick_values(axes: Axes, axis: Axis) -> None:
    """Let an axis show values; its scale is set already."""
    axis.set_major_locator(LogTicks() if axis.get_scale() == "log" else MaxNLocator("auto", steps=STEPS, min_n_ticks=3))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(ValueTicks())


def tick_measured(axis: Axis, values: Sequence[float]) -> None:
    """Let an axis have a tick at each value that was measured, and nowhere else; its scale is set already."""
    axis.set_major_locator(FixedLocator([*values]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(MeasuredTicks())


class LogTicks(Locator):
    """The coarsest ticks of a logarithmic axis that are at least FEWEST_LOG_TICKS within its limits."""

    def __call__(self) -> list[float]:
        """Return the ticks."""
        assert isinstance(self.axis, Axis)
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the ticks between two limits."""
        low, high = sorted((vmin, vmax))
        if low <= 0:
            return []
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks: list[float] = []
        for parts in DIVISIONS:
            stride = math.ceil((last - first) / MOST_DECADES) if parts == DIVISIONS[0] else 1
            decades = range(-(-first // stride) * stride, last + 1, stride)
            ticks = [part * 10.0**decade for decade in decades for part in parts]
            ticks = [tick for tick in ticks if low <= tick <= high]
            if len(ticks) >= FEWEST_LOG_TICKS:
                break
        return ticks


class MeasuredTicks(Formatter):
    """Numbers at ticks that stand where something was measured: at all of them, or at every second, third, ..."""

    def __call__(self, value: float, position: int | None = None) -> str:
        """Return one number."""
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the numbers at all ticks of an axis, empty where there is no room for one."""
        texts = [_spelled(value, _power_of(value), [value], EXACT) for value in values]
        assert isinstance(self.axis, Axis)
        points = self._positions(self.axis, values)
        size = STYLE["xtick.labelsize"]
        halves = [width(text, size) / 2 for text in texts]
        for stride in range(1, len(texts)):
            shown = range(0, len(texts), stride)
            if all(points[b] - halves[b] - points[a] - halves[a] >= GAP * width("0", size) for a, b in pairwise(shown)):
                break
        else:
            stride = max(1, len(texts))
        return [text if i % stride == 0 else "" for i, text in enumerate(texts)]

    @staticmethod
    def _positions(axis: Axis, values: Sequence[float]) -> list[float]:
        """Return where the ticks of a horizontal axis stand, in points."""
        axes, figure = axis.axes, axis.get_figure(root=True)
        assert isinstance(axes, Axes)
        assert figure
        pixels = axes.transData.transform([(value, axes.get_ylim()[0]) for value in values])[:, 0]
        return (pixels * 72 / figure.dpi).tolist()
