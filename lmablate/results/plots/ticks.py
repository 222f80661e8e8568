"""Numbers at the ticks of an axis, as a person writes them.

Steps and tokens: 500, 1k, 2.5M; k is a thousand, M a million, G a thousand millions, T a million millions.
Other values: 0.5, 12.5, 3000; a value of a million or more, or below a ten-thousandth, as 2.5·10⁻⁶.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, LogLocator, MaxNLocator, NullFormatter

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
# Values in between are written without a power of ten.
SMALLEST, LARGEST = 1e-4, 1e6
RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
# A logarithmic axis of fewer decades has more than one tick in each.
FEW_DECADES = 2.0


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
            decimals = _decimals([value / unit for value in values])
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


def _spelled(value: float, power: int, values: Sequence[float]) -> str:
    """Return a number with a power of ten, and with as many decimals as tell `values` apart."""
    unit = 10.0**power
    text = f"{value / unit:.{_decimals([each / unit for each in values])}f}".replace("-", "−")
    if power == 0 or value == 0:
        return text if value else "0"
    return f"{text}·10{str(power).translate(RAISED)}"


def _decimals(values: Sequence[float]) -> int:
    """Return the fewest decimals with which all values are right to a thousandth of their distance."""
    distance = np.diff(np.unique(values)).min(initial=math.inf)
    allowed = 1e-3 * min(distance, max((abs(value) for value in values if value), default=1.0))
    return next((n for n in range(16) if all(abs(round(value, n) - value) <= allowed for value in values)), 15)


def tick_counts(axis: Axis) -> None:
    """Let an axis count steps or tokens: whole numbers."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.set_major_formatter(CountTicks())


def tick_values(axes: Axes, axis: Axis) -> None:
    """Let an axis show values; its limits and scale are set already."""
    if axis.get_scale() == "log":
        low, high = axes.get_xlim() if axis is axes.xaxis else axes.get_ylim()
        few = math.log10(high) - math.log10(low) < FEW_DECADES
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(ValueTicks())
