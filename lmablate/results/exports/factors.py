"""The factors of an experiment: the choices and keys that vary among its runs and do not follow from one another."""

from collections.abc import Sequence

import numpy as np

from lmablate.config.schema import MODEL_GROUPS, NOT_IDENTITY
from lmablate.results.exports.recorded import COLUMNS, RecordedRun
from lmablate.results.frames import Scalar

# Config keys that do not change what a run computes. `data` counts by the option chosen.
NOT_FACTORS = ("_wandb", "seed", *NOT_IDENTITY)
NOT_FACTOR_GROUPS = ("experiment", "tracking")
# A group that chooses for other groups comes before them; all further groups follow by name.
GROUP_ORDER = ("scale", "arch", "stack", *(f"model/{group}" for group in MODEL_GROUPS))


def factor_columns(runs: Sequence[RecordedRun]) -> dict[str, list[Scalar]]:
    """Return one column of levels per factor, in the order of `runs`.

    A factor is a group choice or a config key that varies. One that is a function of the factors before it is left
    out: model.norm.kind if it changes with `arch`, model.d_ff if it was solved for. Groups come first, so that a key
    is a factor only if no choice explains it. In a fraction of a factorial design the last choice is a function of all
    others together; it is known as a factor by varying at every level of each of them.
    """
    columns: dict[str, list[Scalar]] = {}
    arms: list[tuple[Scalar, ...]] = [()] * len(runs)
    groups = _group_columns(runs)
    for key, levels in [*groups.items(), *_key_columns(runs).items()]:
        finer = [(*arm, level) for arm, level in zip(arms, levels, strict=True)]
        if len({*finer}) > len({*arms}) or (key in groups and _is_fractional(levels, [*columns.values()])):
            columns[_column_name(key)], arms = _with_one_type(levels), finer
    return columns


def _is_fractional(levels: list[Scalar], earlier: Sequence[list[Scalar]]) -> bool:
    """Return whether a choice varies at every level of each of two or more factors, and is no name of an arm."""
    arms = {*zip(*earlier, strict=True)}
    return (
        len(earlier) > 1
        and len({*levels}) < len(arms)
        and all(
            len({level for level, at in zip(levels, factor, strict=True) if at == place}) > 1
            for factor in earlier
            for place in {*factor}
        )
    )


def _column_name(key: str) -> str:
    """Return the factor's column: a key that is called like another column of the tables has a prefix."""
    return f"config.{key}" if key in COLUMNS else key


def _group_columns(runs: Sequence[RecordedRun]) -> dict[str, list[Scalar]]:
    """Return the options of the runs by group; a choice that is not recorded is that of a run with the same config."""
    groups = {group for run in runs for group in run.choices if group not in NOT_FACTOR_GROUPS}
    configs = [frozenset(_possible_factors(run).items()) for run in runs]
    pairs = list(zip(configs, runs, strict=True))
    columns: dict[str, list[Scalar]] = {}
    for group in sorted(groups, key=lambda g: (GROUP_ORDER.index(g) if g in GROUP_ORDER else len(GROUP_ORDER), g)):
        known = {config: run.choices[group] for config, run in pairs if config and group in run.choices}
        columns[group] = [run.choices.get(group, known.get(config, "")) for config, run in pairs]
    return columns


def _key_columns(runs: Sequence[RecordedRun]) -> dict[str, list[Scalar]]:
    """Return the values of the runs by dotted key; d_ff comes last, because `match` solves for it."""
    configs = [_possible_factors(run) for run in runs]
    keys = sorted({key for config in configs for key in config}, key=lambda key: (key == "model.d_ff", key))
    return {key: [config.get(key, "") for config in configs] for key in keys}


def _possible_factors(run: RecordedRun) -> dict[str, Scalar]:
    return {key: value for key, value in run.config.items() if not _is_excluded(key)}


def _is_excluded(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in NOT_FACTORS)


def _with_one_type(levels: list[Scalar]) -> list[Scalar]:
    """Return the levels as whole numbers if all are, else as floats if all are finite numbers, else as text."""
    if all(isinstance(level, int) for level in levels):
        return levels
    if all(isinstance(level, int | float) and np.isfinite(level) for level in levels):
        return [float(level) for level in levels]
    return [str(level) for level in levels]
