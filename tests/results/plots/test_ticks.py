"""Ticks are numbers as a person writes them, and tell neighbours apart."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from matplotlib.text import Text

from lmablate.results.plots import Look, plan_gallery
from lmablate.results.plots.style import WIDTHS, Width, figure_bytes
from lmablate.results.plots.ticks import CountTicks, ValueTicks
from tests.results.plots.scenes import a_run, exported


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 1, 2], ["0", "1", "2"]),
        ([0, 250, 500], ["0", "250", "500"]),
        ([0, 500, 1000, 1500], ["0", "500", "1k", "1.5k"]),
        ([0, 2_500_000, 5_000_000], ["0", "2.5M", "5M"]),
        ([10_000, 12_500], ["10k", "12.5k"]),
        ([1_000_000, 1_000_002], ["1M", "1.000002M"]),
        ([1e9, 2e12], ["1G", "2T"]),
        ([0, 0.5, 1], ["0", "0.5", "1"]),
        ([], []),
    ],
)
def test_counts(values: list[float], texts: list[str]) -> None:
    assert CountTicks().format_ticks(values) == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1.0"]),
        ([0.25, 0.5], ["0.25", "0.50"]),
        ([-1, 0, 1], ["−1", "0", "1"]),
        ([7.6, 8.0], ["7.6", "8.0"]),
        ([0, 20000, 40000], ["0", "20000", "40000"]),
        ([1e6, 2e6], ["1·10⁶", "2·10⁶"]),
        ([0, 5e-7, 1e-6], ["0", "0.5·10⁻⁶", "1.0·10⁻⁶"]),
        ([-2e30, 0], ["−2·10³⁰", "0"]),
        ([0.0001, 0.0002], ["0.0001", "0.0002"]),
        ([1e9, 1e9 + 1], ["1.000000000·10⁹", "1.000000001·10⁹"]),
        ([0.5], ["0.5"]),
        ([0], ["0"]),
        ([], []),
    ],
)
def test_values(values: list[float], texts: list[str]) -> None:
    assert ValueTicks().format_ticks(values) == texts


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("steps", [300, 600, 1000, 1200, 1500, 2000, 40_000])
def test_no_text_of_a_file_is_cut_off_whatever_the_last_tick(tmp_path: Path, steps: int, width: Width) -> None:
    data = exported([a_run(arm, range(0, steps + 1, steps // 10)) for arm in "ab"], tmp_path)
    figure = plan_gallery(data, look=Look(width))["overview"]()
    outside: list[str] = []
    draw = Text.draw

    def note(self: Text, *args: Any, **kwargs: Any) -> None:
        if self.get_visible() and self.get_text().strip() and self.get_window_extent().x1 > figure.bbox.x1 + 1:
            outside.append(self.get_text())
        draw(self, *args, **kwargs)

    with patch.object(Text, "draw", note):
        figure_bytes(figure, "png")
        outside.clear()  # while the layout was made
        figure_bytes(figure, "png")
    assert outside == []
