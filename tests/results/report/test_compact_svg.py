"""The pictures of a page are those of the files, in a fraction of the bytes."""

import re
import xml.etree.ElementTree as ET
from urllib.parse import unquote

import numpy as np
import pytest

from lmablate.results.plots import figure_bytes, gallery
from lmablate.results.report.compact_svg import data_uri
from tests.results.plots.scenes import SCENES, exported

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = ("path", "use", "text", "image")
# Scenes with marks, bands, dashes, crosses, log axes, odd names.
CHOSEN = ["one run of three steps", "two seeds of one step", "a dense run", "many layers", "constant and huge"]


def drawn(root: ET.Element) -> list[str]:
    return [element.tag.removeprefix(SVG) for element in root.iter() if element.tag.removeprefix(SVG) in DRAWN]


def texts(root: ET.Element) -> list[str]:
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("scene", CHOSEN)
def test_a_compact_picture_has_all_that_the_file_has(scene: str, tmp_path) -> None:
    for name, figure in gallery(exported(SCENES[scene], tmp_path)):
        svg = figure_bytes(figure, "svg", **{"svg.fonttype": "none"})
        address = data_uri(svg)
        assert address.startswith("data:image/svg+xml,")
        assert not re.search(r'["#%](?![0-9A-F]{2})', address.partition(",")[2]), "it must fit into an attribute"
        whole, compact = ET.fromstring(svg), ET.fromstring(unquote(address.partition(",")[2]))
        assert drawn(compact) == drawn(whole), name
        assert texts(compact) == texts(whole), name
        assert compact.get("viewBox") == whole.get("viewBox")
        assert len(address) < len(svg) / 2, name
        names = {element.get("id") for element in compact.iter()} - {None}
        used = set(re.findall(r"#([a-z][0-9]*)\b", " ".join(v for e in compact.iter() for v in e.attrib.values())))
        assert used <= names, "a reference leads nowhere"


def points(path: str) -> list[tuple[float, float]]:
    """Read a path of straight lines as the grammar of SVG does: a number ends where the next character cannot go on."""
    found: list[tuple[float, float]] = []
    for command, rest in re.findall(r"([MLmz])([^MLmz]*)", path):
        numbers = [float(number) for number in re.findall(r"[-+]?(?:\d+\.\d+|\d+|\.\d+)", rest)]
        for x, y in zip(numbers[::2], numbers[1::2], strict=True):
            before = found[-1] if found and command == "m" else (0.0, 0.0)
            found.append((before[0] + x, before[1] + y))
    return found


@pytest.mark.parametrize("scene", CHOSEN)
def test_each_straight_line_goes_where_it_went(scene: str, tmp_path) -> None:
    for name, figure in gallery(exported(SCENES[scene], tmp_path)):
        svg = figure_bytes(figure, "svg", **{"svg.fonttype": "none"})
        whole, compact = ET.fromstring(svg), ET.fromstring(unquote(data_uri(svg).partition(",")[2]))
        for old, new in zip(whole.iter(f"{SVG}path"), compact.iter(f"{SVG}path"), strict=True):
            if re.fullmatch(r"[MLz\d\s.-]*", old.get("d", "")):
                ends = [np.array(points(path.get("d", ""))) for path in (new, old)]
                assert ends[0] == pytest.approx(ends[1], abs=0.06), name
