"""Every figure of a study, drawn by one process per processor: as files, and as the pictures of the page."""

import gc
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from lmablate.results import plots
from lmablate.results.exports import load_exported
from lmablate.results.report.compact_svg import data_uri

# A page has one legend for all pictures of an experiment, and is read on screens, which show no more points than this.
WIDE, NARROW = plots.Look("page", legend=False, points=90), plots.Look("column", legend=False, points=56)
# Letters stay letters: their outlines would be half of a picture.
SCREEN = {"svg.fonttype": "none"}

# Figures are made of many objects that refer to each other; to look for unused ones less often saves 5 % of the time.
COLLECT_EVERY = 50_000
# In CSS pixels.
PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Image:
    """A drawing that the page holds.

    Attributes:
        address: its data URI.
        width: in CSS pixels.
        height: in CSS pixels. With its size known, a page keeps room for a drawing that has not been loaded yet.
    """

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        caption: a sentence about it.
        narrow: at the width of a column: half of a wide page, or the whole of a telephone.
        wide: at the width of a page; None if it is shown in half of it.
    """

    caption: str
    narrow: Image
    wide: Image | None


def draw_all(exports: Path, names: list[str], out: Path) -> Mapping[str, list[Picture]]:
    """Draw the figures of several experiments into files, and return the pictures of the page.

    Processes are spawned: a fork would copy the locks that other threads hold at that moment.

    Args:
        exports: the folder of the exports.
        names: the experiments.
        out: the folder of the figures; each experiment has a folder of its own in it.

    Returns:
        The pictures of each experiment, by its name.
    """
    tasks = [task for name in names for task in _tasks(exports, name)]
    context = multiprocessing.get_context("spawn")
    workers = max(1, min(len(tasks), os.cpu_count() or 1))
    with ProcessPoolExecutor(workers, context, gc.set_threshold, (COLLECT_EVERY,)) as pool:
        drawn = [*pool.map(partial(_draw, exports, out), tasks)]
    pictures: dict[str, list[Picture]] = {name: [] for name in names}
    for task, picture in zip(tasks, drawn, strict=True):
        if picture is not None:
            pictures[task.name].append(picture)
    return pictures


@dataclass(frozen=True)
class _Task:
    """One figure of one experiment: small enough that no processor waits long for another at the end.

    Attributes:
        name: the experiment.
        stem: the figure.
        on_page: whether the page shows it, and not only a file.
        alone: whether it is as wide as the page: the overview, and the first of the others if their number is odd,
            since these stand in pairs.
    """

    name: str
    stem: str
    on_page: bool
    alone: bool


def _tasks(exports: Path, name: str) -> Iterator[_Task]:
    plan = plots.plan_gallery(load_exported(exports, name))
    shown = [stem for stem, planned in plan.items() if not planned.in_overview]
    others = [stem for stem in shown if stem != plots.MAIN_FIGURE]
    alone = {plots.MAIN_FIGURE, *others[: len(others) % 2]}
    for stem in plan:
        yield _Task(name, stem, stem in shown, stem in alone)


# The figures of an experiment come one after the other, and share what they read.
_loaded = lru_cache(maxsize=1)(load_exported)


def _draw(exports: Path, out: Path, task: _Task) -> Picture | None:
    """Draw a figure into its files, and return its picture if the page shows it."""
    data, stem = _loaded(exports, task.name), task.stem
    plots.save_figure(plots.plan_gallery(data)[stem](), out / task.name / stem)
    if not task.on_page:
        return None
    narrow = plots.plan_gallery(data, look=NARROW)[stem]
    wide = _image(plots.plan_gallery(data, look=WIDE)[stem]) if task.alone else None
    return Picture(narrow.caption, _image(narrow), wide)


def _image(planned: plots.Planned) -> Image:
    figure = planned()
    address = data_uri(plots.figure_bytes(figure, "svg", **SCREEN))
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return Image(address, width, height)
