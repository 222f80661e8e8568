"""Every figure of a study, drawn by one process per processor."""

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from lmablate.results import plots
from lmablate.results.exports import load_exported

# The SVG file of each figure, by its name, in the order of drawing.
FigureFiles = dict[str, Path]


def draw_all(exports: Path, names: list[str], out: Path) -> Mapping[str, FigureFiles]:
    """Draw the figures of several experiments.

    Processes are spawned: a fork would copy the locks that other threads hold at that moment.

    Args:
        exports: the folder of the exports.
        names: the experiments.
        out: the folder of the figures; each experiment has a folder of its own in it.

    Returns:
        The files of each experiment, by its name.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), context) as pool:
        return dict(zip(names, pool.map(partial(_draw, exports, out), names), strict=True))


def _draw(exports: Path, out: Path, name: str) -> FigureFiles:
    plan = plots.plan_gallery(load_exported(exports, name))
    return {stem: plots.save_figure(draw(), out / name / stem)[1] for stem, draw in plan.items()}
