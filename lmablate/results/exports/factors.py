"""What varies among the runs of an experiment: its factors, and nothing that merely follows from them."""

from collections.abc import Sequence

import numpy as np

from lmablate.config.schema import MODEL_GROUPS, NOT_IDENTITY
from lmablate.results.exports.recorded import Recorded, Scalar

# Config keys that are no part of what a run computes. `data` counts by the option chosen.
NOT_FACTORS = ("_wandb", "seed", *NOT_IDENTITY)
NOT_FACTOR_GROUPS = ("experiment", "tracking")
ORDER = ("scale", "arch", *(f"model/{slot}" for slot in MODEL_GROUPS))
"""Groups that choose for others come before those; the rest follows by name."""


def factor_columns(runs: Sequence[Recorded]) -> dict[str, list[Scalar]]:
    """One column of levels a factor, in the order of `runs`.

    A factor is a group choice, or else a config key, that varies. One that is a function of the factors
    before it is left out: model.norm.kind when it changes with `arch`, model.d_ff when it was solved for.
    Groups come first, so a key stands for itself only where no choice explains it.
    """
    columns: dict[str, list[Scalar]] = {}
    arms: list[tuple[Scalar, ...]] = [()] * len(runs)
    for key, levels in [*_group_columns(runs).items(), *_key_columns(runs).items()]:
        finer = [(*arm, level) for arm, level in zip(arms, levels, strict=True)]
        if len({*finer}) > len({*arms}):
            columns[key], arms = _one_type(levels), finer
    return columns


def _group_columns(runs: Sequence[Recorded]) -> dict[str, list[Scalar]]:
    """Group -> option by run. A run that did not note a choice has that of a run with the same config."""
    groups = {group for run in runs for group in run.choices if group not in NOT_FACTOR_GROUPS}
    configs = [frozenset(_factor_keys(run).items()) for run in runs]
    pairs = list(zip(configs, runs, strict=True))
    columns: dict[str, list[Scalar]] = {}
    for group in sorted(groups, key=lambda g: (ORDER.index(g) if g in ORDER else len(ORDER), g)):
        noted = {config: run.choices[group] for config, run in pairs if config and group in run.choices}
        columns[group] = [run.choices.get(group, noted.get(config, "")) for config, run in pairs]
    return columns


def _key_columns(runs: Sequence[Recorded]) -> dict[str, list[Scalar]]:
    """Dotted key -> value by run; d_ff comes last, for `match` solves it."""
    configs = [_factor_keys(run) for run in runs]
    keys = sorted({key for config in configs for key in config}, key=lambda key: (key == "model.d_ff", key))
    return {key: [config.get(key, "") for config in configs] for key in keys}


def _factor_keys(run: Recorded) -> dict[str, Scalar]:
    """The config without what cannot be a factor."""
    return {key: value for key, value in run.config.items() if not _is_excluded(key)}


def _is_excluded(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in NOT_FACTORS)


def _one_type(levels: list[Scalar]) -> list[Scalar]:
    """Whole numbers, numbers or text: a column has one type."""
    if all(isinstance(level, int) for level in levels):
        return levels
    if all(isinstance(level, int | float) and np.isfinite(level) for level in levels):
        return [float(level) for level in levels]
    return [str(level) for level in levels]
