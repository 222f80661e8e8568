"""Every figure that an experiment's measurements allow."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.curves import METRICS, curve_figure, has_steps_after_warmup, overview_figure
from lmablate.results.plots.mechanisms import LEARNING_RATE, learning_rate_figure, profile_figure, profiles
from lmablate.results.plots.panels import MAX_PANELS

# The name of the first figure, which shows the experiment at a glance.
MAIN_FIGURE = "overview"


def gallery(data: Exported) -> Iterator[tuple[str, Figure]]:
    """Yield (file name, figure): the overview, each metric in full and after warm-up, then the mechanisms.

    An experiment with more settings than a page has room for has only its overview and its learning-rate curve.
    """
    arms = Arms(data)
    yield MAIN_FIGURE, overview_figure(data)
    if len(arms.panels()) <= MAX_PANELS:
        for metric in (metric for metric in METRICS if metric in arms.metrics):
            name = metric.replace("/", "_")
            yield name, curve_figure(data, metric)
            if has_steps_after_warmup(arms):
                yield f"{name}_after_warmup", curve_figure(data, metric, cut=True)
        for pattern in profiles(arms.metrics):
            yield pattern.replace("/", "_").replace("_{i}", ""), profile_figure(data, pattern)
    if LEARNING_RATE in data.factors:
        yield "learning_rate", learning_rate_figure(data)
