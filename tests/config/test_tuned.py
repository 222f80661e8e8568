"""Tuned values: each arm gets its own, and what does not fit is refused or warned about."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import resolve_config
from lmablate.config.identity import run_identity
from lmablate.config.tuned import tuned_arm, tuning_warnings
from lmablate.errors import UserError

TARGET = "model.norm._target_"
PRE: dict[str, Any] = {
    "arm": "norm=pre",
    "when": {TARGET: "lmablate.model.PreNorm"},
    "base": {"optim.lr": 0.003},
    "values": {"optim.lr": 0.01},
    "trials": [{"optim.lr": 0.01, "loss": 3.0}],
}
POST = {**PRE, "arm": "norm=post", "when": {TARGET: "lmablate.model.PostNorm"}, "values": {"optim.lr": 0.001}}


def tuned(cfg: DictConfig, *arms: Any, **more: Any) -> DictConfig:
    cfg = cfg.copy()
    cfg.tuned = OmegaConf.create({"arms": list(arms), **more})
    return cfg


@pytest.mark.parametrize(("norm", "rate"), [("pre", 0.01), ("post", 0.001)])
def test_each_arm_gets_its_own_values(compose_config, norm: str, rate: float) -> None:
    cfg = compose_config(f"model/norm={norm}")
    resolved = resolve_config(tuned(cfg, PRE, POST))
    assert resolved.optim.lr == rate
    assert [arm.arm for arm in resolved.tuned.arms] == [f"norm={norm}"]
    assert resolve_config(resolved) == resolved
    typed = resolve_config(compose_config(f"model/norm={norm}", f"optim.lr={rate}"))
    assert run_identity(resolved, "0" * 64, 1) == run_identity(typed, "0" * 64, 1)


@pytest.mark.parametrize(
    ("overrides", "arms", "words"),
    [
        (["model/norm=hybrid"], [PRE, POST], "tuned has no values for this arm: it was tuned for norm=pre; norm=post"),
        ([], [PRE, PRE], "tuned has more than one set of values for this arm"),
        (["optim.lr=1e-2"], [{**PRE, "values": {"optim.lr": 0.02}}], "optim.lr=0.01 is not allowed beside tuned"),
        ([], [{**PRE, "values": {"optim.eps": 1e-3}}], "optim.eps cannot be tuned: choose from optim.lr"),
        ([], [{**PRE, "values": {"optim.lr": "high"}}], "optim.lr=high is not allowed: it must be a number"),
        ([], [{**PRE, "values": {"optim.lr": True}}], "optim.lr=True is not allowed: it must be a number"),
        ([], [{**PRE, "values": {"optim.lr": -1.0}}], "optim.lr=-1.0 is not allowed: it must be at least 0"),
        ([], [{**PRE, "when": None}], "tuned.arms is not allowed: it must hold what lmablate.tune writes"),
        ([], ["pre"], "tuned.arms is not allowed"),
        ([], [], "tuned is not allowed: it must hold what lmablate.tune writes"),
    ],
)
def test_what_does_not_fit_is_refused(compose_config, overrides: list[str], arms: list[Any], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        resolve_config(tuned(compose_config(*overrides), *arms))


@pytest.mark.parametrize("value", [3, "fast", [1], {"arm": 1}], ids=str)
def test_what_is_no_file_of_tuned_values_is_refused(compose_config, value: Any) -> None:
    cfg = compose_config().copy()
    cfg.tuned = value
    with pytest.raises(UserError, match=r"tuned is not allowed: it must hold what lmablate\.tune writes"):
        resolve_config(cfg)


def test_nothing_is_tuned_unless_it_is_asked_for(compose_config) -> None:
    assert tuned_arm(compose_config()) is None


@pytest.mark.parametrize(
    ("arm", "header", "words"),
    [
        (PRE, {"seeds": [7, 8], "setting": {"train.max_steps": 1200}}, None),
        ({**PRE, "at_edge": True}, {}, "the pilot did not try all sides of the best values of norm=pre"),
        (PRE, {"seeds": [3, 4]}, "seed 4 was used to tune norm=pre: judge with seeds that chose nothing"),
        (
            PRE,
            {"setting": {"train.max_steps": 20}},
            "norm=pre was tuned at train.max_steps=20, and this sweep has 1200",
        ),
    ],
)
def test_what_makes_tuned_values_doubtful_is_named(compose_config, arm: Any, header: Any, words: str | None) -> None:
    cfg = resolve_config(tuned(compose_config(), arm, **header))
    found = list(tuning_warnings(cfg, {4, 5}))
    assert [words in sentence for sentence in found if words] == ([True] if words else [])
    assert bool(found) == bool(words)
