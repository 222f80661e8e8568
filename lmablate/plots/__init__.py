"""Figures of an experiment, drawn from its exports. Each function returns a Figure and saves nothing."""

from lmablate.plots.curves import METRICS, curve_figure, has_steps_after_warmup, overview_figure
from lmablate.plots.gallery import MAIN, gallery
from lmablate.plots.mechanisms import learning_rate_figure, profile_figure, profiles
from lmablate.plots.style import save
from lmablate.plots.summary import summary

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
