"""Factorial designs: which arms a fraction has, what it cannot tell apart, and that Hydra finds the cells."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmablate.config.designs import Design, load_design, parse_design
from lmablate.config.schema import CONF
from lmablate.errors import UserError
from lmablate.sweep.jobs import expand_sweep
from tests.tiny import exit_code

PARTS = load_design(CONF / "design" / "parts.yaml")


def two_levels(factors: int, fraction: int) -> Design:
    return parse_design({"factors": {f"f{i}": ["a", "b"] for i in range(factors)}, "fraction": fraction}, "here")


def signs(design: Design) -> np.ndarray:
    return np.array(
        [[1 if arm[f] == options[0] else -1 for f, options in design.factors.items()] for arm in design.arms()]
    )


# Factors, fraction, and the highest resolution of a fraction of that size (Box, Hunter and Hunter, 1978, table 12.15).
@pytest.mark.parametrize(
    ("factors", "fraction", "resolution"),
    [
        (3, 2, 3),
        (4, 2, 4),
        (5, 2, 5),
        (5, 4, 3),
        (6, 2, 6),
        (6, 4, 4),
        (6, 8, 3),
        (7, 8, 4),
        (7, 16, 3),
        (8, 16, 4),
        (8, 4, 5),
    ],
)
def test_a_fraction_has_the_highest_resolution(factors: int, fraction: int, resolution: int) -> None:
    design = two_levels(factors, fraction)
    rows = signs(design)
    assert design.resolution == resolution
    assert len(rows) == len({*map(tuple, rows)}) == 2**factors // fraction
    # Products of fewer factors than the resolution are balanced; one with as many factors is not.
    for size in range(1, resolution + 1):
        sums = [abs(rows[:, chosen].prod(1).sum()) for chosen in itertools.combinations(range(factors), size)]
        assert (max(sums) == 0) == (size < resolution)


def test_the_base_is_an_arm_of_every_fraction() -> None:
    assert [1] * 5 in signs(PARTS).tolist()
    assert [1] * 7 in signs(two_levels(7, 8)).tolist()


def test_all_arms_may_have_any_number_of_options() -> None:
    design = parse_design({"factors": {"model/pos": ["rope", "sin", "nope"], "model/norm": ["pre", "post"]}}, "here")
    assert len(design.arms()) == 6
    assert design.resolution == math.inf
    assert design.describe() == "all 6 arms: every effect is told apart"


@pytest.mark.parametrize(
    ("factors", "fraction", "words"),
    [
        (5, 2, "16 of 32 arms, resolution V: main effects and interactions of two factors are told apart"),
        (
            4,
            2,
            "8 of 16 arms, resolution IV: main effects are told apart; of interactions these are not: f0 x f1=f2 x f3,",
        ),
        (3, 2, "4 of 8 arms, resolution III: main effects are mixed with interactions of two factors"),
    ],
)
def test_what_cannot_be_told_apart_is_said(factors: int, fraction: int, words: str) -> None:
    assert two_levels(factors, fraction).describe().startswith(words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (3, "a design has `factors` and perhaps `fraction`"),
        ({"fraction": 2}, "a design has `factors`"),
        ({"factors": {"a": ["x", "y"], "b": ["x", "y"]}, "seeds": 3}, "and nothing else"),
        ({"factors": {"a": ["x", "y"]}}, "factors must be 2 to 10 groups"),
        ({"factors": ["a"]}, "factors must be 2 to 10 groups"),
        (
            {"factors": {"a": ["x"], "b": ["x", "y"]}},
            "factors: a=['x'] is not allowed: it must be a list of two options or more",
        ),
        ({"factors": {"a": "x", "b": ["x", "y"]}}, "factors: a=x is not allowed"),
        ({"factors": {"a": ["x", "x"], "b": ["x", "y"]}}, "factors: a=['x', 'x'] is not allowed"),
        (
            {"factors": {"a": ["x", "y"], "b": ["x", "y"]}, "fraction": 3},
            "fraction=3 is not allowed: it must be 1, 2, 4, 8",
        ),
        ({"factors": {"a": ["x", "y"], "b": ["x", "y"]}, "fraction": True}, "fraction=True is not allowed"),
        (
            {"factors": {"a": ["x", "y"], "b": ["x", "y"]}, "fraction": 2},
            "fraction=2 is not allowed: it would mix the main",
        ),
        ({"factors": {"a": ["x", "y", "z"], "b": ["x", "y"]}, "fraction": 2}, "wants two options of each factor"),
        ({"factors": {f"f{i}": list("abcd") for i in range(6)}}, "it has 4096 arms, and 1024 are the most"),
    ],
    ids=str,
)
def test_what_is_no_design_is_refused(content: Any, words: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_design(content, "mine.yaml")
    assert str(refused.value).startswith("mine.yaml: ")
    assert words in str(refused.value)


def test_the_experiment_trains_the_arms_of_the_design() -> None:
    sweep = expand_sweep(["experiment=factorial", "seed=0"])
    found = [{group: job.choices[group] for group in PARTS.factors} for job in sweep.jobs]
    assert found == PARTS.arms()


@pytest.mark.parametrize("text", ["factors: [", "factors: 3", "- 1", "\0", "fraction: 2"])
def test_a_broken_design_disturbs_nobody_but_who_chooses_it(text: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "design").mkdir()
    (tmp_path / "design" / "broken.yaml").write_text(text)
    flags = [f"--config-dir={tmp_path}", f"runs_dir={tmp_path / 'runs'}"]
    assert exit_code([*flags, "--cfg", "job"]) == 0
    capsys.readouterr()
    assert exit_code([*flags, "cell=broken_01"]) == 2
    error = capsys.readouterr().err
    assert "broken.yaml" in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()
