"""An experiment at a glance: its main metrics side by side, over the whole run and after warm-up."""

from dataclasses import dataclass
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmablate.errors import UserError
from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arm, Arms
from lmablate.results.plots.curves import X_LABEL, draw_curves, has_steps_after_warmup
from lmablate.results.plots.panels import (
    MAX_PANELS,
    MOST_COLUMNS,
    add_legend,
    add_note,
    balanced_rows,
    hide_inner_name,
    name_panel,
    panel_figure,
)
from lmablate.results.plots.scales import set_scales
from lmablate.results.plots.style import Look, styled

METRICS = ("train/loss", "val/loss", "grad_norm")


@dataclass(frozen=True, eq=False)
class _Panel:
    """What one panel shows: a metric of some arms, from the end of warm-up on or (`cut` is false) from the start."""

    metric: str
    setting: str
    members: tuple[Arm, ...]
    cut: bool

    @property
    def title(self) -> str:
        stretch = "after warm-up" if self.cut else "" if self.setting else "full run"
        return ", ".join(part for part in (self.setting, stretch) if part)


def overview_figure(data: Exported, look: Look | None = None, metrics: tuple[str, ...] = METRICS) -> Figure:
    """Draw some metrics side by side, for each setting of the factors behind the first, in full and after warm-up.

    At the width of a page each metric has a column. In a column of a paper the metrics stand one below the other. At
    most MAX_PANELS settings are drawn; if there is no room for the steps after warm-up, they are left out.

    Args:
        data: the experiment.
        look: how it is drawn.
        metrics: the metrics, of which those that were measured are drawn.

    Raises:
        UserError: if the experiment has none of the metrics.
    """
    look = look or Look()
    arms = Arms(data, look.factors)
    measured = [metric for metric in metrics if metric in arms.metrics]
    if not measured:
        raise UserError(f"{data.experiment} has none of the metrics {', '.join(metrics)}.")
    settings = list(arms.panels().items())
    after = has_steps_after_warmup(arms)
    notes = []
    if len(settings) > MAX_PANELS:
        notes.append(f"{MAX_PANELS} of {len(settings)} settings are shown.")
    if after and 2 * len(settings) > MAX_PANELS:
        notes.append("The steps after warm-up are left out for want of room.")
        after = False
    stretches = [False, True] if after else [False]
    lines = [(setting, tuple(arm), cut) for setting, arm in settings[:MAX_PANELS] for cut in stretches]
    by_metric = [[_Panel(metric, *line) for line in lines] for metric in measured]
    if look.width == "page":
        rows = [[*row] for row in zip(*by_metric, strict=True)]
    else:
        rows = [row for panels in by_metric for row in _split(panels, MOST_COLUMNS[look.width])]
    with styled():
        figure, grid = panel_figure(look, [len(row) for row in rows])
        drawn = dict(zip([panel for row in rows for panel in row], grid, strict=True))
        for panel, axes in drawn.items():
            notes += draw_curves(axes, arms, panel.members, panel.metric, look, panel.cut)
        notes += _scale(drawn, look)
        for row in rows:
            for panel, before in zip(row, [None, *row], strict=False):
                beside = before is not None and before.metric == panel.metric
                repeated = before is not None and before.title == panel.title
                name = "" if beside else arms.quantity(panel.metric).label
                name_panel(drawn[panel], "" if repeated else panel.title, X_LABEL, name)
        for axes in grid:
            hide_inner_name(axes)
        if look.legend:
            add_legend(figure, arms)
        add_note(figure, notes)
    return figure


def _split(panels: list[_Panel], columns: int) -> list[list[_Panel]]:
    """Return the panels in rows of equal length, as far as possible."""
    remaining = iter(panels)
    return [[next(remaining) for _ in range(count)] for count in balanced_rows(len(panels), columns)]


def _scale(drawn: dict[_Panel, Axes], look: Look) -> list[str]:
    """Give the panels of each metric and stretch common limits, if that flattens none; return notes."""

    def group(panel: _Panel) -> tuple[str, bool]:
        return panel.metric, panel.cut

    notes: list[str] = []
    for (metric, _), panels in groupby(sorted(drawn, key=group), key=group):
        notes += set_scales([drawn[panel] for panel in panels], look.limits_of(metric), metric)
    return notes
