"""Effects of options taken one at a time: what each of them does beside the same base.

An experiment that leaves out one part of a model at a time, or adds one, has a base and arms that differ from it in one
choice. The effect of such an arm is the mean over seeds of its reading minus the base's with the same seed, with a
paired t interval. Each effect has a spread of its own: an arm that trains badly is noisier than the others, so that one
spread for all would make its interval too short. p-values are corrected by Holm over the arms.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from lmablate.errors import UserError
from lmablate.evidence.factorial import Effect, adjusted_by_holm, check_complete, paired_effect, sorted_by_size

_FEWEST_SEEDS = 2


@dataclass(frozen=True)
class OneAtATime:
    """The analysis of an experiment in which one factor varies.

    Attributes:
        factor: the factor.
        base: its option with which each other one is compared.
        effects: one for each other option, largest first: the option minus the base. The term is the option.
        seeds: number of seeds.
    """

    factor: str
    base: str
    effects: list[Effect]
    seeds: int


def compare_with_base(readings: pd.DataFrame, base: str) -> OneAtATime:
    """Compare each option of the only factor with one of them.

    Args:
        readings: one row per run: a column of the factor with the option, `seed`, and `value`.
        base: the option with which the others are compared.

    Raises:
        UserError: if not exactly one factor varies, it has no such option, or there are fewer than two seeds, or an
            option lacks a seed.
    """
    table: Any = readings
    factor, *others = (str(column) for column in table.columns if column not in ("seed", "value"))
    options = [*dict.fromkeys(map(str, table[factor]))]
    if others or len(options) < 2:
        raise UserError(f"base={base} is for an experiment in which one factor varies, and one only.")
    if base not in options:
        raise UserError(f"base={base} is not an option of {factor} here: it must be one of {', '.join(options)}.")
    seeds = table["seed"].nunique()
    if seeds < _FEWEST_SEEDS:
        raise UserError(f"Effects need {_FEWEST_SEEDS} seeds or more: one cannot tell them from noise.")
    check_complete(table, [factor])
    values = table.assign(**{factor: table[factor].astype(str)}).pivot(index="seed", columns=factor, values="value")
    effects = [_effect_of(values, option, base) for option in options if option != base]
    return OneAtATime(factor, base, sorted_by_size(adjusted_by_holm(effects)), seeds)


def _effect_of(values: Any, option: str, base: str) -> Effect:
    return paired_effect(f"{option} - {base}", option, (values[option] - values[base]).to_numpy())
