"""A level has one colour, and the same figure gives the same bytes."""

from pathlib import Path

from lmablate.results.exports import Exported
from lmablate.results.plots import curve_figure, save_figure
from lmablate.results.plots.style import BLUE, COLOURS, FACTOR_NAMES, LEVEL_NAMES, PALETTE, colours_of


def test_a_figure_is_the_same_to_the_byte(data: Exported, tmp_path: Path) -> None:
    def drawn(stem: Path) -> list[bytes]:
        return [path.read_bytes() for path in save_figure(curve_figure(data, "train/loss"), stem)]

    first, second = drawn(tmp_path / "a"), drawn(tmp_path / "b")
    assert first == second
    assert not any(b"Software" in content or b"<dc:date>" in content for content in first)


def test_levels_of_one_factor_have_colours_of_their_own() -> None:
    for factor, names in LEVEL_NAMES.items():
        assert factor in FACTOR_NAMES
        assert len({COLOURS[level] for level in names}) == len(names)
    many = [f"level {i}" for i in range(len(PALETTE))]
    assert len({*colours_of(many).values()}) == len(PALETTE)
    assert colours_of(["rope", "something new"])["rope"] == BLUE
