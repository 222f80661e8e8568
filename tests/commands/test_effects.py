"""`python -m lmablate.effects`: from exports to the table, the figure and the words."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmablate.evidence.one_at_a_time import compare_with_base
from lmablate.results.design_effects import SATURATED, read_design
from lmablate.results.exports import Thinning, write_tables
from lmablate.results.plots import MARK, Look, one_at_a_time_figure, plan_gallery
from lmablate.results.plots.style import WIDTHS, Width
from tests.results.plots.scenes import a_run, drawn_texts, exported, overlaps
from tests.tiny import exit_code

PARTS = ("norm", "pos", "act", "tying")
FACTORS = {"model.norm": ("pre", "post"), "model.act": ("swiglu", "relu")}


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two parts: the norm is worth 0.4, the activation 0.1, and a run's noise is 0.01."""
    draw, runs = np.random.default_rng(0), []
    for (norm, act), seed in itertools.product(itertools.product(*FACTORS.values()), range(4)):
        loss = 3 + 0.4 * (norm == "post") + 0.1 * (act == "relu") + 0.01 * draw.normal()
        factors = dict(zip(FACTORS, (norm, act), strict=True))
        runs.append(
            a_run(f"{norm}-{act}", [0, 1, 2], lambda step, end=loss: 5 - (5 - end) * step / 2, seed, factors=factors)
        )
    write_tables(runs, "x", tmp_path / "analysis" / "exports", Thinning(digits=17), "none")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PARTS_OF_MINE = ("mine", "without_gate", "without_act")


def one_at_a_time(
    folder: Path, options: tuple[str, ...], state: str = "done", end: float | None = None, runs_of_last: int = 1
) -> None:
    """Write an experiment in which one factor varies: each option after the first is worth 0.1 more.

    Args:
        folder: the folder of the exports.
        options: of the factor.
        state: of the last option's runs.
        end: their final loss; None is what it would be.
        runs_of_last: how many they are of each seed.
    """
    draw, runs = np.random.default_rng(0), []
    for (rank, option), seed in itertools.product(enumerate(options), range(4)):
        is_last = option == options[-1]
        loss = end if is_last and end is not None else 3 + 0.1 * rank + 0.01 * draw.normal()
        for number in range(runs_of_last if is_last else 1):
            runs.append(
                a_run(f"{option}{number}", [0, 1, 2], lambda step, end=loss: 5 - (5 - end) * step / 2, seed,
                      state if is_last else "done", factors={"stack": option})
            )  # fmt: skip
    write_tables(runs, "x", folder, Thinning(digits=17), "none")


def effects(*arguments: str) -> int:
    experiment = [] if any(argument.startswith("experiment=") for argument in arguments) else ["experiment=x"]
    return exit_code([*experiment, *arguments], "lmablate.effects")


def test_the_table_the_figure_and_the_words(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert effects() == 0
    printed = capsys.readouterr().out
    table = pd.read_csv(exports / "analysis" / "effects" / "x.effects.csv")
    values = dict(zip(table["effect"], table["value"], strict=True))
    assert values["model.norm: post - pre"] == pytest.approx(0.4, abs=0.03)
    assert values["model.act: relu - swiglu"] == pytest.approx(0.1, abs=0.03)
    assert [*(table["low"] <= table["value"])] == [True] * len(table)
    assert "model.norm: 9" in printed
    assert "% of the variance among arms" in printed
    for form in ("png", "svg"):
        assert MARK.encode() in (exports / "analysis" / "effects" / f"x.{form}").read_bytes()
    before = (exports / "analysis" / "effects" / "x.svg").read_bytes()
    assert effects() == 0
    assert (exports / "analysis" / "effects" / "x.svg").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["metric=val/los"], "metric=val/los is not in the exports of x"),
        (["base=pre"], "base=pre is for one factor that varies; these vary: model.act, model.norm"),
        (["exports=one_arm"], "A factorial design varies at least two factors; these vary: none"),
        (["exports=one_arm", "base=mine"], "base=mine is for one factor that varies; these vary: none"),
        (["exports=single"], "base= is not an option of stack here: it must be one of mine, without_gate, without_act"),
        (["exports=single", "base=gate"], "base=gate is not an option of stack here"),
        (["exports=failed", "base=mine"], "The arm stack=without_act has no finished run"),
        (["exports=unread", "base=mine"], "The arm stack=without_act has no finite reading with seed 0"),
        (["exports=twice", "base=mine"], "The arm stack=without_act has more than one run with seed 0"),
        (["experiment=other"], "other.parquet is missing"),
        (["exports=nowhere"], "is missing"),
        (["ouput=x"], "'ouput=x' is not a KEY=VALUE that this command knows"),
    ],
)
def test_a_mistake_is_one_sentence(exports: Path, capsys, arguments: list[str], words: str) -> None:
    one_at_a_time(exports / "one_arm", ("mine",))
    one_at_a_time(exports / "single", PARTS_OF_MINE)
    one_at_a_time(exports / "failed", PARTS_OF_MINE, state="failed")
    one_at_a_time(exports / "unread", PARTS_OF_MINE, end=float("nan"))
    one_at_a_time(exports / "twice", PARTS_OF_MINE, runs_of_last=2)
    assert effects(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not (exports / "analysis" / "effects").exists()


def test_a_fraction_that_shows_no_other_interaction_says_so(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert effects() == 0
    assert SATURATED[:40] not in " ".join(capsys.readouterr().out.split())
    runs = []
    for (norm, act), seed in itertools.product(itertools.product("ab", repeat=2), range(2)):
        arm = {"model/norm": norm, "model/act": act, "model/tying": "ab"[norm == act]}
        run = a_run(norm + act, [0, 1, 2], lambda step, seed=seed: 4 - step / 9 + seed, seed, factors=arm)
        runs.append(replace(run, choices=arm))
    write_tables(runs, "x", exports / "half", Thinning(), "none")
    assert effects("exports=half", "out=half") == 0
    assert " ".join(SATURATED.split()) in " ".join(capsys.readouterr().out.split())


def test_a_file_of_somebody_else_stays(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exports / "analysis" / "effects" / "x.effects.csv"
    path.parent.mkdir()
    path.write_text("mine")
    assert effects() == 2
    assert "exists already and is not a table of effects" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert effects("overwrite=true") == 0


def test_where_one_factor_varies_each_option_is_compared_with_the_base(
    exports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_at_a_time(exports / "single", PARTS_OF_MINE)
    assert effects("exports=single", "base=mine") == 0
    table = pd.read_csv(exports / "analysis" / "effects" / "x.effects.csv")
    assert [*table["effect"]] == ["without_act - mine", "without_gate - mine"]
    assert [*table["value"]] == pytest.approx([0.2, 0.1], abs=0.03)
    assert "Effects of stack" in capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "names", [("mine", "mine_without_gate", "mine_only_act"), ("b", *("long" * 20 + f"{i}" for i in range(40)))]
)
def test_names_of_options_do_not_overlap(exports: Path, width: Width, names: tuple[str, ...]) -> None:
    one_at_a_time(exports / "single", names)
    found = compare_with_base(read_design(exports / "single", "x", "val/loss"), names[0])
    figure = one_at_a_time_figure(found, "val/loss", Look(width))
    texts = drawn_texts(figure)
    assert [*overlaps(figure, texts)] == []
    assert len(texts) > len(names)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("parts", "seeds", "drawn"), [(4, 2, True), (4, 1, False), (3, 2, False)])
def test_figures_of_four_crossed_parts_say_which_matters_most(
    tmp_path: Path, width: Width, parts: int, seeds: int, drawn: bool
) -> None:
    draw, runs = np.random.default_rng(0), []
    for options in itertools.product("ab", repeat=parts):
        for seed in range(seeds):
            loss = 3 + 0.3 * (options[0] == "b") + 0.1 * (options[1] == "b") + 0.01 * draw.normal()
            factors = {f"model.{part}": option for part, option in zip(PARTS, options, strict=False)}
            runs.append(a_run("".join(options), [0, 1, 2], lambda step, end=loss: 5 - (5 - end) * step / 2, seed,
                              factors=factors))  # fmt: skip
    plan = plan_gallery(exported(runs, tmp_path), look=Look(width))
    assert ("effects" in plan) == drawn
    if drawn:
        figure = plan["effects"]()
        texts = drawn_texts(figure)
        assert [*overlaps(figure, texts)] == []
        assert "model.norm" in {text.get_text() for text in texts}
