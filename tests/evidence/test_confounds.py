"""Each difference between arms at step 0 that may explain a result is warned about, and no other."""

import re
from dataclasses import replace

import pytest

from lmablate.evidence.confounds import ArmStart, find_confounds

CLEAN = ArmStart(
    name="a",
    parameters=1000,
    mlp_parameters=500,
    flops_per_token=6000,
    grad_clip=1.0,
    uniform=5.0,
    init_loss=5.1,
    logit_std=0.5,
    grad_norm=2.0,
    position_ratio=1.0,
)


def warnings(*arms: ArmStart, seeds: int = 4, rates: dict[str, float] | None = None) -> list[str]:
    return list(find_confounds(arms, seeds, rates))


def test_equal_arms_that_start_well_need_no_warning():
    assert warnings(CLEAN, replace(CLEAN, name="b")) == []


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"parameters": 1011}, r"^the arms differ in parameters: b has 1.01 x those of a \(1,011 against 1,000\)\.$"),
        ({"mlp_parameters": 550}, r"differ in MLP parameters: b has 1.1 x those of a"),
        ({"flops_per_token": 7000}, r"differ in training FLOPs per token: b has 1.17 x those of a"),
        ({"grad_norm": 7.0}, r"differ in the gradient norm at step 0: b has 3.5 x those of a"),
        ({"init_loss": 8.0}, r"b starts at 8.0 nats, 3.0 above ln V = 5.0 \(logits spread by 0.5\)"),
        ({"grad_norm": 5.0, "grad_clip": 0.4}, r"b has a gradient of norm 5.0 at step 0, clipped to 0.4"),
        ({"position_ratio": 3.5}, r"b adds positions 3.5 times as large as the token embeddings"),
    ],
)
def test_a_difference_beyond_its_threshold_gives_one_warning(change, warning):
    (found,) = warnings(CLEAN, replace(CLEAN, name="b", **change))
    assert re.search(warning, found)


def test_only_arms_of_one_budget_are_compared():
    small, large = ("1",), ("2",)
    arms = [replace(CLEAN, name=f"{arm}{budget[0]}", budget=budget) for budget in (small, large) for arm in "ab"]
    sizes = [{"parameters": 10**4, "grad_norm": 9.0} if arm.budget == large else {} for arm in arms]
    rungs = [replace(arm, **size) for arm, size in zip(arms, sizes, strict=True)]
    assert warnings(*rungs) == []
    (found,) = warnings(*rungs[:3], replace(rungs[3], parameters=2 * 10**4))
    assert found.startswith("the arms differ in parameters: b2 has 2 x those of a2")


def test_a_value_that_was_not_measured_gives_no_warning():
    unmeasured = {"mlp_parameters", "uniform", "init_loss", "logit_std", "grad_norm", "position_ratio"}
    assert warnings(CLEAN, replace(CLEAN, name="b", **dict.fromkeys(unmeasured, float("nan")))) == []


def test_a_learning_rate_that_all_arms_share_and_too_few_seeds_are_named():
    shared, few = warnings(CLEAN, replace(CLEAN, name="b"), seeds=2, rates={"a": 3e-3, "b": 3e-3})
    assert shared.startswith("all arms share optim.lr=0.003")
    assert few.startswith("2 seeds: ")
    assert warnings(CLEAN, seeds=1, rates={"a": 3e-3}) == []


def test_learning_rates_of_their_own_that_no_pilot_tuned_are_named():
    (own,) = warnings(CLEAN, replace(CLEAN, name="b"), rates={"a": 3e-3, "b": 2e-2})
    assert own.startswith("the arms have learning rates of their own, from optim.lr=0.003 of a to 0.02 of b")
