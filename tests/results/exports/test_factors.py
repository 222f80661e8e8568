"""A factor is what was varied; what follows from it is not."""

from itertools import product

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
