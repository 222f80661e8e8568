"""Readings: from the logged curve of one run to the one number that arms are compared by."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from lmablate.errors import counted
from lmablate.evidence.divergence import LOSSES, WHOLE_FILE, Substitute, composite_loss, substitute_of
from lmablate.evidence.samples import UNLIMITED
from lmablate.evidence.stats import slope, spike_score
from lmablate.evidence.tables import NotMeasured, RunTable

# A part of training, from 0, its start, to 1, its end.
Share = Annotated[float, "from 0 to 1"]
# The stretch of training that is read: [from, to] as fractions of it, "warmup" or "after_warmup".
During = str | list[float] | tuple[float, float]

WHOLE = (0.0, 1.0)
_LAYER = re.compile(r"/layer_[0-9]+$")


def _fitted_change(steps: NDArray, values: NDArray) -> float:
    """Return the change of the fitted line from the first step to the last; it does not depend on the run's length."""
    return slope(steps, values) * float(steps[-1] - steps[0])


def _spikes(steps: NDArray, values: NDArray) -> float:
    """Return the spike score over windows of 100 points, or of a quarter of the points if there are fewer than 400.

    A window never has fewer than 20 points.
    """
    return spike_score(values, window=max(20, min(100, len(values) // 4)))


def _peak_to_median(steps: NDArray, values: NDArray) -> float:
    return float(values.max() / np.median(values))


def _peak_step(steps: NDArray, values: NDArray) -> float:
    """Return the step of the highest moving average over 2 % of the points.

    Averaging keeps a single noisy batch from being the peak.
    """
    width = max(1, len(values) // 50)
    smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
    return float(steps[smooth.argmax() : smooth.argmax() + width].mean())


def _rise_step(steps: NDArray, values: NDArray) -> float:
    """Return the step at which a moving average over 2 % of the points stands highest above its lowest so far.

    A norm that falls from the initialisation before it rises to a peak has its maximum at the start.
    """
    width = max(1, len(values) // 50)
    smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
    at = (smooth - np.minimum.accumulate(smooth)).argmax()
    return float(steps[at : at + width].mean())


# How the values over a stretch of training become one number.
REDUCTIONS: dict[str, Callable[[NDArray, NDArray], float]] = {
    "first": lambda steps, values: float(values[0]),
    "last": lambda steps, values: float(values[-1]),
    "mean": lambda steps, values: float(values.mean()),
    "sd": lambda steps, values: float(values.std(ddof=1)),
    "change": _fitted_change,
    "spikes": _spikes,
    "peak_to_median": _peak_to_median,
    "peak_step": _peak_step,
    "rise_step": _rise_step,
}
# The fewest points that a reduction needs; 1 for all others.
FEWEST_POINTS = {"sd": 2, "change": 2, "spikes": 21}

# The smallest and the largest value of a metric that cannot have any other; {i} stands for the layer.
LIMITS: dict[str, tuple[float, float]] = {
    "clipped": (0.0, 1.0),
    "dead_units/layer_{i}": (0.0, 1.0),
    "residual/stream_cosine/layer_{i}": (-1.0, 1.0),
    "tied_grad/cosine": (-1.0, 1.0),
    "untied_grad/cosine": (-1.0, 1.0),
}
# Reductions that stay within the limits of the metric.
_WITHIN = ("first", "last", "mean")

TRANSFORMS: dict[str, Callable[[float], float]] = {"identity": float, "log": lambda x: float(np.log(x))}


@dataclass(frozen=True)
class Reading:
    """A metric over a stretch of training, reduced to one number.

    Attributes:
        metric: name of the metric. If it has {i} in place of the layer, the reading is the mean over the layers.
        reduce: how the values become one number, a key of REDUCTIONS.
        during: the stretch of training that is read.
        transform: applied last, a key of TRANSFORMS. With "log" the difference of two readings is the logarithm of
            their ratio, for quantities whose size depends on the model's scale.
        minus: another metric, whose reduced value is subtracted before the transform; None for none.
        since_start: read the change since the first logged step: its value is subtracted after the transform.
    """

    metric: str
    reduce: str = "last"
    during: During = WHOLE
    transform: str = "identity"
    minus: str | None = None
    since_start: bool = False

    @property
    def in_words(self) -> str:
        """The reading in words, as it stands in the label of a contrast."""
        how = "" if self.reduce == "last" else f"{self.reduce} of "
        less = f" − {self.minus}" if self.minus else ""
        when = self.during if isinstance(self.during, str) else f"{self.during[0]:.0%}-{self.during[1]:.0%}"
        where = "" if tuple(self.during) == WHOLE else f" ({when})"
        since = "change since step 0 of " if self.since_start else ""
        measure = f"{since}{how}{self.metric}{less}{where}"
        return f"log {measure}" if self.transform == "log" else measure

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest number that the reading can be; infinite if unknown."""
        low, high = UNLIMITED
        if self.since_start:
            return UNLIMITED
        if self.minus is None and self.reduce == "spikes":
            low, high = 0.0, 1.0
        elif self.minus is None and self.reduce in _WITHIN:
            low, high = LIMITS.get(_LAYER.sub("/layer_{i}", self.metric), UNLIMITED)
        if self.transform == "log":
            low, high = (float(np.log(end)) if end > 0 else -np.inf for end in (low, high))
        return low, high

    def of(self, table: RunTable, experiment: str, run: str) -> float:
        """Return the reading of one run; of a diverged one infinity for the worst rank, and NaN if it is missing.

        Raises:
            NotMeasured: if the run lacks the metric or has too few points of it, or if the value is not finite or has
                no logarithm.
        """
        value = self._value(table, experiment, run)
        if not self.since_start:
            return value
        return value - replace(self, reduce="first", during=WHOLE, since_start=False).of(table, experiment, run)

    def _value(self, table: RunTable, experiment: str, run: str) -> float:
        """Return the same without what the first step had."""
        if self.is_cut(table, experiment, run):
            return self._substitute(table, experiment, run)
        metric = self._final_metric(table, experiment)
        layers = [self._reduced(table, experiment, run, m) for m in table.layer_metrics(experiment, run, metric)]
        value = float(np.mean(layers))
        if self.metric in LOSSES and self.reduce == "last" and table.has(experiment, run, "init/loss"):
            value = composite_loss(value, table.untrained_loss(experiment, run))
        if self.minus is not None:
            value -= self._reduced(table, experiment, run, self.minus)
        if not np.isfinite(value) or (self.transform == "log" and value <= 0):
            raise NotMeasured(f"run {run} of {experiment} has {value} for {self.reduce} of {self.metric}")
        return TRANSFORMS[self.transform](value)

    def _final_metric(self, table: RunTable, experiment: str) -> str:
        """Return the metric that is read: for a final value that of the whole validation file, if there is one."""
        whole = WHOLE_FILE.get(self.metric)
        is_final = self.reduce == "last" and tuple(self.during) == WHOLE and not (self.minus or self.since_start)
        return whole if whole and is_final and table.all_have(experiment, whole) else self.metric

    def is_cut(self, table: RunTable, experiment: str, run: str) -> bool:
        """Return whether a run diverged before the end of what is read of it."""
        diverged = table.diverged_at(run)
        if np.isinf(diverged):
            return False
        first, last = self._bounds(table, experiment, run, 0.0)
        return (first if self.reduce == "first" else last) >= diverged

    def _substitute(self, table: RunTable, experiment: str, run: str) -> float:
        """Return what stands for the reading of a run that a divergence has cut."""
        substitute = substitute_of(self.metric, self.reduce, self.minus is not None)
        if substitute != Substitute.UNTRAINED:
            return np.inf if substitute == Substitute.WORST else np.nan
        steps, values = np.zeros(0), np.zeros(0)
        if table.has(experiment, run, self.metric):
            steps, values = table.series(experiment, run, self.metric)
        later = table.steps_planned(experiment, self.metric, after=max(steps, default=-1.0))
        untrained = np.full(later.size, table.untrained_loss(experiment, run))
        reduced = self._reduce(table, experiment, run, np.append(steps, later), np.append(values, untrained))
        return TRANSFORMS[self.transform](reduced)

    def by_layer(self, table: RunTable, experiment: str, run: str) -> list[float]:
        """Return the reading of each layer, first to last, without `minus`."""
        return [
            replace(self, metric=metric, minus=None).of(table, experiment, run)
            for metric in self._layers(table, experiment, run)
        ]

    def _layers(self, table: RunTable, experiment: str, run: str) -> list[str]:
        return table.layer_metrics(experiment, run, self.metric)

    def _reduced(self, table: RunTable, experiment: str, run: str, metric: str) -> float:
        return self._reduce(table, experiment, run, *table.series(experiment, run, metric))

    def _reduce(self, table: RunTable, experiment: str, run: str, steps: NDArray, values: NDArray) -> float:
        first, last = self._bounds(table, experiment, run, max(steps, default=0.0))
        inside = (first <= steps) & (steps <= last)
        if inside.sum() < FEWEST_POINTS.get(self.reduce, 1):
            points = counted(int(inside.sum()), "point")
            raise NotMeasured(f"run {run} of {experiment} has {points} of {self.metric} in {self.during}")
        return REDUCTIONS[self.reduce](steps[inside], values[inside])

    def _bounds(self, table: RunTable, experiment: str, run: str, last_step: float) -> tuple[float, float]:
        if self.during == "warmup":
            return 0, table.warmup_end(experiment, run)
        if self.during == "after_warmup":
            return table.warmup_end(experiment, run) + 1, np.inf
        first, last = self.during
        length = max(last_step, table.last_step(experiment, run))
        return float(first) * length, float(last) * length
