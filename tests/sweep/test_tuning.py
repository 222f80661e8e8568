"""The pilot's search: where it looks, that effort is equal, and what it writes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lmablate.errors import UserError
from lmablate.sweep.jobs import expand_sweep
from lmablate.sweep.tuning import (
    Point,
    TunedArm,
    best_point,
    next_point,
    point_values,
    trial_commands,
    tune_arms,
    tuned_file,
)

BASE = {"optim.lr": 0.003, "optim.weight_decay": 0.1}


def search(optimum: tuple[float, ...], trials: int) -> dict[Point, float]:
    """The losses of a search on a valley with its floor at `optimum`, in the search's units."""
    losses: dict[Point, float] = {}
    point: Point | None = (0,) * len(optimum)
    while point is not None and len(losses) < trials:
        assert point not in losses
        losses[point] = sum((x - floor) ** 2 for x, floor in zip(point, optimum, strict=True))
        point = next_point(losses)
    return losses


@given(st.floats(-20, 20))
def test_nine_trials_find_a_rate_within_a_factor_of_twenty(optimum: float) -> None:
    losses = search((optimum,), 12)
    assert abs(best_point(losses)[0] - optimum) <= 1  # a quarter of an octave
    assert abs(best_point(search((optimum,), 9))[0] - optimum) <= 2


@given(st.tuples(st.floats(-8, 8), st.floats(-8, 8)))
def test_two_keys_are_searched_together(optimum: tuple[float, float]) -> None:
    best = best_point(search(optimum, 16))
    assert max(abs(x - floor) for x, floor in zip(best, optimum, strict=True)) <= 4


def test_the_search_ends_by_itself_with_the_finest_neighbours() -> None:
    losses = search((0.0,), 100)
    assert set(losses) == {(units,) for units in (0, 8, -8, 4, -4, 2, -2, 1, -1)}


def test_a_best_setting_between_others_has_both_sides_tried() -> None:
    losses: dict[Point, float] = {(0,): 4.04, (8,): 3.77, (16,): 3.90, (12,): 3.79, (4,): 3.85, (10,): 3.76}
    assert not TunedArm("a", {"optim.lr": 3e-3}, losses, OmegaConf.create()).at_edge
    assert next_point(losses) == (11,)


@pytest.mark.parametrize("losses", [{(0,): 4.0}, {(0,): 4.0, (8,): 3.0}, {(0,): 4.0, (-8,): 3.0, (-4,): 3.5}])
def test_a_best_setting_with_nothing_beyond_it_is_at_the_edge(losses: dict[Point, float]) -> None:
    assert TunedArm("a", {"optim.lr": 3e-3}, losses, OmegaConf.create()).at_edge


def test_where_everything_diverges_the_search_goes_down() -> None:
    losses: dict[Point, float] = {(0,): math.inf}
    for _ in range(4):
        point = next_point(losses)
        assert point is not None
        losses[point] = math.inf
    assert min(losses) == (-24,)


@pytest.mark.parametrize(
    ("base", "point", "values"),
    [
        (BASE, (0, 0), BASE),
        (BASE, (8, -8), {"optim.lr": 0.00949, "optim.weight_decay": 0.0316}),
        ({"optim.warmup_steps": 30}, (8,), {"optim.warmup_steps": 60}),
        ({"optim.warmup_steps": 1}, (-8,), {"optim.warmup_steps": 1}),
        ({"optim.lr": 0.0012345}, (0,), {"optim.lr": 0.0012345}),
    ],
)
def test_values_have_three_digits_and_whole_numbers_stay_whole(base: dict, point: Point, values: dict) -> None:
    found = point_values(base, point)
    assert found == values
    assert [*map(type, found.values())] == [*map(type, values.values())]


@pytest.mark.parametrize(
    ("arguments", "keys", "seeds", "words"),
    [
        (["-m", "model/norm=pre,post", "seed=4,5"], ["optim.lr"], [5, 6], "pilot_seeds: 5 is a seed of the sweep, too"),
        (["-m", "optim.lr=1e-3,1e-2"], ["optim.lr"], [9], "optim.lr is swept over: it cannot be tuned, too"),
        (["optim.weight_decay=0"], ["optim.weight_decay"], [9], "optim.weight_decay=0.0 of the model cannot be tuned"),
        (["+tuned.arms=[1]"], ["optim.lr"], [9], "tuned is already chosen"),
    ],
)
def test_what_cannot_be_tuned_is_refused(arguments: list[str], keys: list[str], seeds: list[int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        tune_arms(arguments, keys, 2, seeds)


def test_the_file_says_what_tells_the_arms_apart_and_where_the_values_come_from() -> None:
    sizes = {"model": {"d_model": 64}, "optim": {"lr": 0.003}, "train": {"max_steps": 300}}
    configs = [
        OmegaConf.create({**sizes, "act": {"_target_": name, **more}, "name": name})
        for name, more in (("relu", {}), ("cap", {"value": 5}))
    ]
    arms = [TunedArm(str(cfg.name), {"optim.lr": 0.003}, {(0,): 3.0, (8,): 2.0, (16,): 2.5}, cfg) for cfg in configs]
    file = tuned_file(arms, [1, 2], "python -m lmablate.tune", "2026-01-31")
    assert [arm["when"] for arm in file["arms"]] == [
        {"act._target_": "relu", "act.value": None}, {"act._target_": "cap", "act.value": 5},
    ]  # fmt: skip
    assert file["setting"]["model.d_model"] == 64
    assert file["arms"][0]["values"] == {"optim.lr": 0.00949}
    assert file["arms"][0]["at_edge"] is False
    assert len(file["arms"][0]["trials"]) == 3


def test_sizes_that_tell_the_arms_apart_are_no_setting_of_all() -> None:
    """Each rung of a ladder is an arm: an audit would call all but the first tuned at another size."""
    configs = [
        OmegaConf.create({"model": {"d_model": width}, "train": {"max_steps": 300}, "name": "n"}) for width in (32, 48)
    ]
    arms = [TunedArm(f"d {cfg.model.d_model}", {}, {(): 3.0}, cfg) for cfg in configs]
    file = tuned_file(arms, [1], "python -m lmablate.tune", "2026-01-31")
    assert [arm["when"] for arm in file["arms"]] == [{"model.d_model": 32}, {"model.d_model": 48}]
    assert "model.d_model" not in file["setting"]
    assert file["setting"]["train.max_steps"] == 300


@pytest.mark.parametrize(
    ("rates", "sweeps"),
    [
        ((0.003, 0.003, 0.003, 0.003), 1),
        ((0.003, 0.003, 0.01, 0.01), 2),
        ((0.01, 0.003, 0.01, 0.003), 2),
        ((0.003, 0.003, 0.003, 0.01), 4),  # three of four arms are no combination of levels
        ((0.003, 0.01, 0.01, 0.003), 4),
        ((0.003, 0.01, None, None), 2),
        ((None, None, None, None), 0),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "model/norm=pre,post", "model/pos=rope,nope", "optim.lr=0.003", "seed=4,5"],
        ["experiment=norm_location", "model/pos=rope,nope"],
    ],
)
def test_arms_that_try_the_same_values_are_one_sweep(arguments: list[str], rates: tuple, sweeps: int) -> None:
    base = expand_sweep(arguments)
    tried = {arm: {"optim.lr": rate} for arm, rate in zip(base.arms, rates, strict=True) if rate is not None}
    commands = trial_commands(arguments, base, tried, [7, 8])
    jobs = [job for command in commands for job in expand_sweep(command).jobs]
    run = [(job.arm(base.factors), job.cfg.optim.lr, job.seed) for job in jobs]
    assert sorted(run) == sorted((arm, values["optim.lr"], seed) for arm, values in tried.items() for seed in (7, 8))
    assert len(commands) == sweeps
