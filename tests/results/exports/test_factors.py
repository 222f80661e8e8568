"""A factor is what was varied; what follows from it is not."""

from itertools import product

import pytest

from lmablate.config.schema import NOT_IDENTITY
from lmablate.results.exports.factors import NOT_FACTORS, factor_columns
from lmablate.results.exports.recorded import RecordedRun, flatten_config
from tests.results.exports.helpers import make_config


def recorded(number: int = 0, choices: dict | None = None, **config: object) -> RecordedRun:
    return RecordedRun(f"run-{number}", number, "done", dict, choices or {}, flatten_config(config))


def test_the_choice_stands_for_its_class_and_the_seed_is_not_a_factor() -> None:
    runs = [
        recorded(seed, {"model/pos": pos, "model/norm": "post"}, **make_config(seed, pos=pos))
        for pos, seed in product(("rope", "nope"), (0, 1))
    ]
    assert factor_columns(runs) == {"model/pos": ["rope", "rope", "nope", "nope"]}


def test_a_solved_width_is_not_a_factor_but_a_chosen_one_is() -> None:
    arms = product(("true", "false"), ("relu", "swiglu"))
    solved = [recorded(0, {"model/tying": t, "model/act": a}, model={"d_ff": 100 * len(t) + len(a)}) for t, a in arms]
    assert [*factor_columns(solved)] == ["model/act", "model/tying"]
    chosen = [recorded(0, {"model/act": "relu"}, model={"d_ff": width}) for width in (128, 256)]
    assert factor_columns(chosen) == {"model.d_ff": [128, 256]}


def test_a_group_that_chooses_for_others_is_the_factor() -> None:
    def arch(name: str, pos: str) -> RecordedRun:
        choices = {"arch": name, "model/pos": pos, "model/norm": f"for-{name}"}
        return recorded(0, choices, model={"norm": {"kind": f"of-{name}"}})

    assert factor_columns([arch("llama", "rope"), arch("vanilla", "sin")]) == {"arch": ["llama", "vanilla"]}


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_last_choice_of_a_fractional_design_is_a_factor(count: int) -> None:
    """Half of all arms: the last part is the product of the others, so that they fix it together."""
    names = ["model/norm", "model/pos", "model/act", "model/tying", "model/init"][:count]
    runs = []
    for seed, levels in product((0, 1), product((0, 1), repeat=count - 1)):
        arm = dict(zip(names, map(str, (*levels, sum(levels) % 2)), strict=True))
        cell = "".join(map(str, levels))
        runs.append(recorded(seed, {**arm, "cell": cell}, model={"width": 100 + 10 * levels[0] + levels[-1]}))
    assert [*factor_columns(runs)] == names


def test_what_two_choices_fix_together_at_one_level_of_either_is_not_a_factor() -> None:
    runs = [
        recorded(0, {"arch": arch, "stack": stack, "model/norm": "pre" if stack == "b" else arch})
        for arch, stack in product(("pre", "post"), ("a", "b"))
    ]
    assert [*factor_columns(runs)] == ["arch", "stack"]


def test_learning_rates_cross_a_choice_and_min_lr_follows() -> None:
    runs = [
        recorded(0, {"model/norm": norm}, optim={"lr": lr, "min_lr": lr / 10})
        for norm, lr in product(("pre", "post"), (1e-3, 1e-2))
    ]
    assert factor_columns(runs) == {
        "model/norm": ["pre", "pre", "post", "post"],
        "optim.lr": [1e-3, 1e-2, 1e-3, 1e-2],
    }


def test_a_shared_run_without_a_recorded_choice_has_that_of_the_same_config() -> None:
    runs = [
        recorded(0, {}, model={"norm": "a"}),
        recorded(1, {"arch": "llama"}, model={"norm": "a"}),
        recorded(0, {"arch": "vanilla"}, model={"norm": "b"}),
    ]
    assert factor_columns(runs) == {"arch": ["llama", "llama", "vanilla"]}


def test_a_single_run_has_no_factors() -> None:
    assert factor_columns([]) == {}
    assert factor_columns([recorded(0, {"model/pos": "rope"}, **make_config())]) == {}


def test_keys_outside_of_the_identity_are_not_factors() -> None:
    assert {*NOT_IDENTITY} <= {*NOT_FACTORS}
