"""Every figure that an experiment's measurements allow."""

import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import chain, count

from matplotlib.figure import Figure

from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.curves import METRICS, curve_figure, has_steps_after_warmup, overview_figure
from lmablate.results.plots.mechanisms import LEARNING_RATE, learning_rate_figure, profile_figure, profiles
from lmablate.results.plots.panels import MAX_PANELS

# The name of the first figure, which shows the experiment at a glance.
MAIN_FIGURE = "overview"
# Diagnostics that the report shows as curves over training.
OVER_TRAINING = ("tied_grad/cosine", "untied_grad/cosine")
# What a file's name may not have, and how long it may be.
_UNFIT, _LONGEST = re.compile(r"[^\w.+=,-]+", re.ASCII), 80


def gallery(data: Exported) -> Iterator[tuple[str, Figure]]:
    """Yield (file name, figure): the overview, each metric in full and after warm-up, then the mechanisms.

    An experiment with more settings than a page has room for has only its overview and its learning-rate curve.
    """
    return ((name, draw()) for name, draw in plan_gallery(data).items())


def plan_gallery(data: Exported, over_training: tuple[str, ...] = ()) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure, by file name, in the order of `gallery`; empty if there is nothing to draw.

    Args:
        data: the experiment.
        over_training: further metrics that are drawn as curves, if they were measured.
    """
    arms = Arms(data)
    plan: dict[str, Callable[[], Figure]] = {}
    metrics = [metric for metric in METRICS if metric in arms.metrics]
    page_has_room = len(arms.panels()) <= MAX_PANELS
    if metrics:
        plan[MAIN_FIGURE] = partial(overview_figure, data)
    if page_has_room:
        for metric in metrics:
            name = metric.replace("/", "_")
            plan[name] = partial(curve_figure, data, metric)
            if has_steps_after_warmup(arms):
                plan[f"{name}_after_warmup"] = partial(curve_figure, data, metric, cut=True)
        for pattern in profiles(arms.metrics):
            plan[_file_name(pattern, plan)] = partial(profile_figure, data, pattern)
    over_rates = Arms(data, axis=LEARNING_RATE)
    if LEARNING_RATE in data.factors and "val/loss" in metrics and len(over_rates.panels()) <= MAX_PANELS:
        plan["learning_rate"] = partial(learning_rate_figure, data)
    if page_has_room:
        for metric in (metric for metric in over_training if metric in arms.metrics):
            plan[_file_name(metric, plan)] = partial(curve_figure, data, metric)
    return plan


def _file_name(metric: str, taken: Collection[str]) -> str:
    """Return a name for the figure of a metric, or of a pattern of metrics, whatever it is called."""
    plain = _UNFIT.sub("_", metric.replace("/", "_").replace("_{i}", "")).lstrip(".")[:_LONGEST] or "metric"
    names = chain([plain], (f"{plain}-{n}" for n in count(2)))
    return next(name for name in names if name not in taken)
