"""Every figure that an experiment's measurements allow."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count

from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.results.design_effects import find_effects
from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.curves import curve_figure, has_steps_after_warmup
from lmablate.results.plots.effects import effects_figure
from lmablate.results.plots.mechanisms import (
    LEARNING_RATE,
    budget_factor,
    budget_figure,
    learning_rate_figure,
    profile_figure,
)
from lmablate.results.plots.overview import METRICS, overview_figure
from lmablate.results.plots.panels import MAX_PANELS
from lmablate.results.plots.quantities import INDEX, KNOWN, is_known, profiles
from lmablate.results.plots.style import STEPS, Look

# The name of the first figure, which shows the experiment at a glance.
MAIN_FIGURE = "overview"
LEARNING_RATE_CAPTION = "Final validation loss against the peak learning rate. The best rate of each arm is ringed."
BUDGET_CAPTION = "Final validation loss against the training FLOPs. Each budget is that of runs of their own."
EFFECTS_CAPTION = (
    "Which part matters most: its share of the variance of the final validation loss among arms, and all effects "
    "against noise. Effects on the line, in grey, may be none."
)
# What a file's name may not have, and how long it may be.
_UNFIT, _LONGEST = re.compile(r"[^\w.+=,-]+", re.ASCII), 80


@dataclass(frozen=True)
class Planned:
    """A figure that is drawn when it is called.

    Attributes:
        caption: a sentence about what it shows.
        draw: draws it.
        in_overview: whether the main figure shows the same.
    """

    caption: str
    draw: Callable[[], Figure]
    in_overview: bool = False

    def __call__(self) -> Figure:
        """Return the figure."""
        return self.draw()


def gallery(data: Exported, metrics: Sequence[str] = (), look: Look | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield (file name, figure): the overview, each metric in full and after warm-up, then the mechanisms.

    An experiment with more settings than a page has room for has only its overview and its learning-rate curve.

    Args:
        data: the experiment.
        metrics: the metrics, or patterns of metrics with {i} for the number at their end, that are drawn; by default
            all that have a figure.
        look: how they are drawn.
    """
    return ((name, draw()) for name, draw in plan_gallery(data, metrics, look).items())


def plan_gallery(data: Exported, metrics: Sequence[str] = (), look: Look | None = None) -> dict[str, Planned]:
    """Return what draws each figure, by file name, in the order of `gallery`; empty if there is nothing to draw.

    Args:
        data: the experiment.
        metrics: as in `gallery`.
        look: how they are drawn.

    Raises:
        UserError: if one of `metrics` or of the limits was not measured, or a factor does not vary.
    """
    look = look or Look()
    arms = Arms(data, look.factors)
    chosen = _checked("metrics", metrics, arms) if metrics else _drawable_metrics(arms)
    _checked("limits", [name for name in look.limits if name != STEPS], arms)
    main = tuple(metric for metric in METRICS if metric in chosen)
    plan: dict[str, Planned] = {}
    if main:
        names = [arms.quantity(metric).name for metric in main]
        plan[MAIN_FIGURE] = Planned(f"{_listed(names).capitalize()}.", partial(overview_figure, data, look, main))
    for name, axis, caption, draw in (
        ("learning_rate", LEARNING_RATE, LEARNING_RATE_CAPTION, learning_rate_figure),
        ("budget", budget_factor(data), BUDGET_CAPTION, budget_figure),
    ):
        varies = axis in data.factors and "val/loss" in chosen
        if varies and len(Arms(data, look.factors, axis=axis).panels()) <= MAX_PANELS:
            plan[name] = Planned(caption, partial(draw, data, look))
    if "val/loss" in chosen and (effects := find_effects(data, "val/loss")):
        plan["effects"] = Planned(EFFECTS_CAPTION, partial(effects_figure, effects, "val/loss", look))
    for metric in chosen if len(arms.panels()) <= MAX_PANELS else ():
        quantity, name = arms.quantity(metric), _file_name(metric, plan)
        caption = quantity.caption or f"{quantity.label[:1].upper()}{quantity.label[1:]}."
        is_main = metric in METRICS
        draw = partial(profile_figure if INDEX in metric else curve_figure, data, metric, look)
        plan[name] = Planned(caption, draw, is_main)
        if is_main and has_steps_after_warmup(arms):
            cut = partial(curve_figure, data, metric, look, cut=True)
            plan[f"{name}_after_warmup"] = Planned(f"{caption} After warm-up.", cut, is_main)
    return plan


def _drawable_metrics(arms: Arms) -> list[str]:
    """Return the metrics and patterns that have a figure if nobody chooses: those of KNOWN, then those of others.

    One member of a pattern of KNOWN, such as the loss at the end of the only window that fits, has none unless it was
    measured several times.
    """
    patterns = profiles(arms.metrics)
    in_profiles = {metric for members in patterns.values() for metric in members.values()}
    singles = [metric for metric in arms.metrics if metric not in in_profiles]
    order = [*METRICS, *KNOWN]
    found = sorted([*singles, *patterns], key=lambda name: (order.index(name) if name in order else len(order), name))
    return [name for name in found if arms.quantity(name).drawn and (name in order or _is_telling(name, arms))]


def _is_telling(name: str, arms: Arms) -> bool:
    return not is_known(name) or len({*arms.data.metrics.rows(name)["step"]}) > 1


def _checked(key: str, metrics: Sequence[str], arms: Arms) -> list[str]:
    """Return the metrics or patterns that a user typed for `key`, without repetitions.

    Raises:
        UserError: if one was not measured.
    """
    known = [*profiles(arms.metrics), *arms.metrics]
    for metric in metrics:
        if metric not in known:
            close = difflib.get_close_matches(metric, known, n=1)
            hint = f"did you mean {close[0]}? It" if close else "it"
            names = ", ".join(known)
            raise UserError(f"{key}={metric} is not measured in {arms.data.experiment}: {hint} has {names}.")
    return [*dict.fromkeys(metrics)]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _file_name(metric: str, taken: Collection[str]) -> str:
    """Return a name for the figure of a metric, or of a pattern of metrics, whatever it is called."""
    plain = _UNFIT.sub("_", metric.replace("/", "_").replace("_{i}", "")).lstrip(".")[:_LONGEST] or "metric"
    names = chain([plain], (f"{plain}-{n}" for n in count(2)))
    return next(name for name in names if name not in taken)
