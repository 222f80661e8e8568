"""Figures of an experiment, drawn from its exports. Each function returns a figure and saves nothing.

gallery     every figure that an experiment's measurements allow
curves      metrics over training
overview    the main metrics at a glance
mechanisms  profiles over layers or positions; final loss against learning rate or budget
summary     an experiment as a small table
effects     shares of the variance and effects against noise, of a factorial design; parts taken one at a time
arms        the runs of an experiment, arm by arm
panels      grids of panels, their legend and note
scales      limits and scale of vertical axes
quantities  names and units of metrics
options     what a user types about figures
labels      names beside the ends of lines
smooth      smoothing and thinning of curves
ticks       numbers at the ticks of an axis
text        names that are drawn as they are, and fit
style       colours, names of factors, and saving
"""

import os
import sys

try:
    import matplotlib  # noqa: F401
except ValueError:  # MPLBACKEND names no backend; to save a figure, any will do
    os.environ["MPLBACKEND"] = "agg"
    for half_imported in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[half_imported]

from lmablate.results.plots.curves import curve_figure
from lmablate.results.plots.effects import effects_figure, one_at_a_time_figure
from lmablate.results.plots.gallery import MAIN_FIGURE, Planned, gallery, plan_gallery
from lmablate.results.plots.mechanisms import budget_figure, learning_rate_figure, profile_figure
from lmablate.results.plots.overview import METRICS, overview_figure
from lmablate.results.plots.quantities import profiles
from lmablate.results.plots.style import MARK, Look, figure_bytes, figure_paths, is_figure, save_figure
from lmablate.results.plots.summary import summary

__all__ = [
    "MAIN_FIGURE",
    "MARK",
    "METRICS",
    "Look",
    "Planned",
    "budget_figure",
    "curve_figure",
    "effects_figure",
    "figure_bytes",
    "figure_paths",
    "gallery",
    "is_figure",
    "learning_rate_figure",
    "one_at_a_time_figure",
    "overview_figure",
    "plan_gallery",
    "profile_figure",
    "profiles",
    "save_figure",
    "summary",
]
