"""Every figure of a study, drawn by one process per processor: as files, and as the pictures of the page."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lmablate.results import plots
from lmablate.results.exports import Exported, load_exported
from lmablate.results.report.compact_svg import data_uri

# A page has one legend for all pictures of an experiment, and is read on screens, which show no more points than this.
WIDE, NARROW = plots.Look("page", legend=False, points=90), plots.Look("column", legend=False, points=56)
# Letters stay letters: their outlines would be half of a picture.
SCREEN = {"svg.fonttype": "none"}


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
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), context) as pool:
        return dict(zip(names, pool.map(partial(_draw, exports, out), names), strict=True))


def _draw(exports: Path, out: Path, name: str) -> list[Picture]:
    data = load_exported(exports, name)
    for stem, planned in plots.plan_gallery(data).items():
        plots.save_figure(planned(), out / name / stem)
    return [*_pictures(data)]


def _pictures(data: Exported) -> Iterator[Picture]:
    """Yield the overview and the pictures of what it does not show.

    They stand in pairs below the overview. If their number is odd, the first is as wide as a pair.
    """
    wide = plots.plan_gallery(data, look=WIDE)
    narrow = {
        stem: planned for stem, planned in plots.plan_gallery(data, look=NARROW).items() if not planned.in_overview
    }
    others = [stem for stem in narrow if stem != plots.MAIN_FIGURE]
    alone = {plots.MAIN_FIGURE, *others[: len(others) % 2]}
    for stem, planned in narrow.items():
        yield Picture(planned.caption, _image(planned), _image(wide[stem]) if stem in alone else None)


def _image(planned: plots.Planned) -> Image:
    figure = planned()
    address = data_uri(plots.figure_bytes(figure, "svg", **SCREEN))
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return Image(address, width, height)
