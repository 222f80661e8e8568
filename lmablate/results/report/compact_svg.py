"""A picture of matplotlib as a fifth of its bytes: what a page shows of it stays the same."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from itertools import count
from urllib.parse import quote

SVG, XLINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
NUMBER = re.compile(r"-?\d+\.\d+")
# A path of straight lines, whose points are written as steps from one to the next.
STRAIGHT = re.compile(r"[MLz\d\s.-]*")
# To a tenth of a point: neither a screen nor a printer shows more of a curve.
TENTHS = 10
REFERENCE = re.compile(r"#(\w+)")
NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)\s*")
# The font of the figures, and fonts with letters of the same width or narrower ones for devices without it.
FONT, FONTS = "'DejaVu Sans'", "DejaVu Sans,Verdana,sans-serif"
TAG = re.compile(r"<[^>]*>")
# Characters of a picture that need no code in an address within an attribute between quotation marks.
SAFE = " !$'()*+,-./:;<=>?@[]^_`{|}~"


def data_uri(svg: bytes) -> str:
    """Return a picture of matplotlib as the address of an image in a page."""
    return "data:image/svg+xml," + quote(_compact_svg(svg), safe=SAFE)


def _compact_svg(svg: bytes) -> str:
    """Return a picture without its descriptions, unused names and superfluous digits, its styles named once each."""
    root = ET.fromstring(svg)
    for element in [*root.iter()]:
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    _shorten_names(root)
    _collect_styles(root)
    for element in root.iter():
        _shorten(element)
    _unwrap(root)
    root.set("xmlns", SVG)
    return TAG.sub(lambda tag: tag[0].replace('"', "'").replace(" />", "/>"), ET.tostring(root, encoding="unicode"))


def _shorten_names(root: ET.Element) -> None:
    """Give one-letter names to what is referred to, and none to anything else."""
    names: dict[str, str] = {}
    fresh = _short_names()
    for element in root.iter():
        if XLINK in element.attrib:
            element.set("href", element.attrib.pop(XLINK))
        for key in ("href", "clip-path"):
            for name in REFERENCE.findall(element.get(key, "")):
                names.setdefault(name, next(fresh))
                element.set(key, element.attrib[key].replace(f"#{name}", f"#{names[name]}"))
    for element in root.iter():
        if name := element.attrib.pop("id", None):
            element.attrib |= {"id": names[name]} if name in names else {}


def _short_names() -> Iterator[str]:
    """Yield a, b, ..., z, a1, b1, ..."""
    for round_ in count():
        yield from (f"{chr(97 + i)}{round_ or ''}" for i in range(26))


def _collect_styles(root: ET.Element) -> None:
    """Replace each style that is there several times by a class."""
    uses = Counter(style for element in root.iter() if (style := element.get("style")))
    fresh = _short_names()
    classes = {style: next(fresh) for style, n in uses.items() if n > 1}
    for element in root.iter():
        if element.get("style") in classes:
            element.set("class", classes[element.attrib.pop("style")])
        elif "style" in element.attrib:
            element.set("style", _tight(element.attrib["style"]))
    rules = "".join(f".{name}{{{_tight(style)}}}" for style, name in classes.items())
    sheet = next(root.iter("style"))
    sheet.text = _tight(sheet.text or "") + rules
    sheet.attrib.clear()


def _tight(style: str) -> str:
    return re.sub(r"\s*([:;])\s*", r"\1", style).replace(FONT, FONTS)


def _shorten(element: ET.Element) -> None:
    """Shorten the numbers of an element, and drop the white space around its children."""
    for key in ("x", "y", "width", "height", "transform"):
        if key in element.attrib:
            turned = NO_TURN.sub("", element.attrib[key])
            element.set(key, NUMBER.sub(_two_decimals, turned).strip())
            if not element.attrib[key]:
                del element.attrib[key]
    if path := element.get("d"):
        element.set(
            "d", _steps(path) if STRAIGHT.fullmatch(path) else NUMBER.sub(_two_decimals, " ".join(path.split()))
        )
    if element.tag not in ("text", "tspan", "style"):
        element.text = None
    element.tail = None


def _two_decimals(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _steps(path: str) -> str:
    """Return a path of straight lines, each point as its distance from the one before."""
    parts, x, y = [], 0, 0
    for command, *numbers in (part.split() for part in re.findall(r"[ML][^MLz]*|z", path)):
        if command == "z":
            parts.append("z")
            continue
        right, down = (round(float(number) * TENTHS) for number in numbers)
        step = _joined(right - x, down - y)
        parts.append(f"m{step}" if command == "M" else step)
        x, y = right, down
    # Nothing is needed before a sign, nor before a point if the number before it has one.
    text = " ".join(parts)
    return re.sub(r" (?=[-mz])|(?<=z) |(?<=\.\d) (?=\.)", "", text)


def _joined(*tenths: int) -> str:
    """Return numbers in tenths one after the other, as short as a path may have them: 12, -5 is 1.2-.5."""
    texts = [re.sub(r"^(-?)0\.", r"\1.", f"{number / TENTHS:g}") for number in tenths]
    return " ".join(texts).replace(" -", "-")


def _unwrap(root: ET.Element) -> None:
    """Replace each group without attributes by its children."""
    children: list[ET.Element] = []
    for child in [*root]:
        _unwrap(child)
        children += [*child] if child.tag == "g" and not child.attrib else [child]
        root.remove(child)
    root.extend(children)
