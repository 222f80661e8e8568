"""Tuned values: each arm's own learning rate, weight decay or warm-up, as `lmablate.tune` found them.

A file such as conf/tuned/NAME.yaml has a list `arms`. Each entry says which configs it is for (`when`), the values that
they had before (`base`), and those that they get (`values`). `tuned=NAME` gives every arm of a sweep its own. An arm
that the file does not know is refused: nothing is compared half tuned.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lmablate.errors import UserError

# What may be tuned, and the factor of the search's first steps.
TUNABLE = {"optim.lr": 10**0.5, "optim.weight_decay": 10**0.5, "optim.warmup_steps": 2.0}
_SHAPE = "it must hold what lmablate.tune writes: a list `arms`, each with `arm`, `when`, `base` and `values`"


def tuned_arm(cfg: DictConfig) -> Mapping[str, Any] | None:
    """Return the entry of `cfg.tuned` that is for this config; None if nothing is tuned.

    Raises:
        UserError: if the file has another form, or if it has no entry, or more than one, for this config.
    """
    if (tuned := _value(cfg, "tuned")) is None:
        return None
    arms = _checked_arms(tuned)
    mine = [arm for arm in arms if all(_value(cfg, key) == value for key, value in arm["when"].items())]
    if len(mine) != 1:
        number = "no values" if not mine else "more than one set of values"
        raise UserError(
            f"tuned has {number} for this arm: it was tuned for {'; '.join(str(arm['arm']) for arm in arms)}. "
            "Tune all arms of the comparison by one lmablate.tune, or leave tuned out."
        )
    return mine[0]


def apply_tuned(cfg: DictConfig) -> None:
    """Give a config its arm's tuned values, in place.

    Raises:
        UserError: as `tuned_arm` does, and if a tuned key has another value than when it was tuned: it was
            typed beside `tuned`, or the arm was tuned at another scale.
    """
    if (arm := tuned_arm(cfg)) is None:
        return
    for key, value in arm["values"].items():
        given, before = _value(cfg, key), arm["base"].get(key)
        if given not in (before, value):
            raise UserError(
                f"{key}={given} is not allowed beside tuned, which replaces {key}={before} by {value}: "
                "leave one of the two out."
            )
        OmegaConf.update(cfg, key, value)
    cfg.tuned.arms = [arm]  # where the values come from, for the record


def tuning_warnings(cfg: DictConfig, seeds: Collection[int]) -> Iterator[str]:
    """Yield what is wrong with an arm's tuned values, one sentence each.

    Args:
        cfg: the arm's resolved config, with tuned values.
        seeds: those of the sweep.
    """
    tuned: Any = OmegaConf.to_container(cfg.tuned, resolve=True)
    (arm,) = tuned["arms"]
    if arm.get("at_edge"):
        yield f"the pilot did not try all sides of the best values of {arm['arm']}: tune with more trials."
    if both := sorted({*seeds} & {*(tuned.get("seeds") or ())}):
        yield f"seed {both[0]} was used to tune {arm['arm']}: judge with seeds that chose nothing."
    here = tuning_setting(cfg)
    for key, value in (tuned.get("setting") or {}).items():
        if key in here and here[key] != value:
            yield f"{arm['arm']} was tuned at {key}={value}, and this sweep has {here[key]}: other values may be best."


def tuning_setting(cfg: DictConfig) -> dict[str, Any]:
    """Return the values on which the best rate depends beside the arm itself: sizes, length and batches."""
    keys = ("model.d_model", "model.n_layers", "model.context_length", "tokenizer.vocab_size", "train.max_steps",
            "train.batch_size")  # fmt: skip
    return {key: _value(cfg, key) for key in keys}


def _checked_arms(tuned: Any) -> list[Mapping[str, Any]]:
    arms = tuned.get("arms") if isinstance(tuned, Mapping) else None
    if not isinstance(arms, list) or not arms:
        raise UserError(f"tuned is not allowed: {_SHAPE}.")
    for arm in arms:
        parts = [arm.get(part) for part in ("when", "base", "values")] if isinstance(arm, Mapping) else []
        if not parts or not all(isinstance(part, Mapping) for part in parts) or "arm" not in arm:
            raise UserError(f"tuned.arms is not allowed: {_SHAPE}.")
        if unknown := sorted(set(map(str, arm["values"])) - set(TUNABLE)):
            raise UserError(f"tuned.arms: {unknown[0]} cannot be tuned: choose from {', '.join(TUNABLE)}.")
        for key, value in arm["values"].items():
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise UserError(f"tuned.arms: {key}={value} is not allowed: it must be a number.")
    return arms


def _value(cfg: DictConfig, key: str) -> Any:
    """Return the value of a dotted key; None if there is none."""
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
