"""A name is drawn as it is: every name that a user may choose is one line of the table."""

import pytest
from matplotlib.figure import Figure

from lmablate.results.plots.style import styled
from lmablate.results.plots.text import INVISIBLE, drawn, fitted, width
from tests.results.plots.scenes import LONG, NAMES, drawn_texts


@pytest.mark.parametrize("name", NAMES)
def test_a_legend_shows_every_name(name: str, recwarn: pytest.WarningsRecorder) -> None:
    with styled():
        figure = Figure()
        figure.subplots().plot([0, 1], label=drawn(name))
        figure.legend()
    shown = [text.get_text() for text in drawn_texts(figure)]
    assert drawn(name) in shown
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rope", "rope"),
        ("_base", INVISIBLE + "_base"),
        ("$x$", "$x$"),
        ("two\nlines", "two lines"),
        ("模", r"\u6a21"),
        ("é", "é"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u200b", r"\u200b"),
        ("\ud800", r"\ud800"),
        (" ", "' '"),
        ("", ""),
    ],
)
def test_what_cannot_be_drawn_is_spelled_out(name: str, text: str) -> None:
    assert drawn(name) == text


@pytest.mark.parametrize("room", [20.0, 60.0, 150.0, 400.0])
@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("name", ["", "a", "a b", LONG, LONG * 50, "x" * 500, "模型" * 40, " " * 9])
def test_a_text_fits_its_room_and_is_whole_if_it_can_be(name: str, lines: int, room: float) -> None:
    broken = fitted(name, room, 8, lines).split("\n")
    assert len(broken) <= lines
    assert all(width(line, 8) <= room + 1e-6 for line in broken)
    if width(drawn(name), 8) <= room:
        assert broken == [drawn(name)]
    assert len(drawn(name)) < 4 or "".join(broken).strip() or not name.strip()
