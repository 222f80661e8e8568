"""Figures of an experiment, drawn from its exports. Each function returns a Figure and saves nothing."""

from lmablate.results.plots.curves import METRICS, curve_figure, has_steps_after_warmup, overview_figure
from lmablate.results.plots.gallery import MAIN, gallery
from lmablate.results.plots.mechanisms import learning_rate_figure, profile_figure, profiles
from lmablate.results.plots.style import save
from lmablate.results.plots.summary import summary

__all__ = [
    "MAIN",
    "METRICS",
    "curve_figure",
    "gallery",
    "has_steps_after_warmup",
    "learning_rate_figure",
    "overview_figure",
    "profile_figure",
    "profiles",
    "save",
    "summary",
]
