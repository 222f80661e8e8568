"""Every figure of a study, drawn by as many processes as there are processors."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from lmablate.results import plots
from lmablate.results.exports import Exported, load
from lmablate.results.plots.arms import Arms

OVER_TIME = ("tied_grad/cosine", "untied_grad/cosine")
"""Diagnostics that are read as curves over training."""

Drawn = dict[str, Path]
"""Name of a figure -> its SVG file, in the order of drawing."""


def draw_all(exports: Path, names: list[str], out: Path) -> Mapping[str, Drawn]:
    """By experiment, its figures as files in a folder of its own below `out`.

    Processes are started afresh: a fork would copy whatever threads hold at that moment.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), context) as pool:
        return dict(zip(names, pool.map(partial(_draw, exports, out), names), strict=True))


def _draw(exports: Path, out: Path, name: str) -> Drawn:
    return {stem: plots.save(figure, out / name / stem)[1] for stem, figure in _figures(load(exports, name))}


def _figures(data: Exported) -> Iterator[tuple[str, Figure]]:
    """The gallery, and the diagnostics over time."""
    yield from plots.gallery(data)
    metrics = Arms(data).metrics
    for metric in (metric for metric in OVER_TIME if metric in metrics):
        yield metric.replace("/", "_"), plots.curve_figure(data, metric)
