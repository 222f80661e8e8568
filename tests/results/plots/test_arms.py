"""Arms are the runs that differ only in their seed; panels are the settings of all further factors."""

from pathlib import Path

from lmablate.results.exports import Exported, load_exported
from lmablate.results.plots.arms import Arms


def test_an_arm_tells_its_finished_runs_from_its_diverged_one(data: Exported) -> None:
    rope, nope = Arms(data).arms
    assert (rope.level, len(rope.complete), rope.incomplete, rope.diverged) == ("rope", 3, [], [])
    assert (nope.level, len(nope.complete)) == ("nope", 2)
    assert nope.incomplete == nope.diverged
    assert len(nope.diverged) == 1


def test_a_factor_on_the_axis_makes_neither_panels_nor_colours(exports: Path) -> None:
    data = load_exported(exports, "lr")
    divided = Arms(data, ["model/norm"])
    assert list(divided.panels()) == ["lr 0.0003", "lr 0.001", "lr 0.003"]
    on_axis = Arms(data, axis="optim.lr")
    assert (on_axis.factor, on_axis.others, list(on_axis.panels())) == ("model/norm", [], [""])
    assert [arm.levels for arm in on_axis.arms] == [arm.levels for arm in divided.arms]
