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
from lmablate.evidence.factorial import (
    Effect,
    adjusted_by_holm,
    check_readings,
    factors_of,
    paired_effect,
    sorted_by_size,
)


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
        UserError: if not exactly one factor varies, if it has no such option, or if readings are not as
            `check_readings` wants them.
    """
    factors = factors_of(readings)
    if len(factors) != 1:
        raise UserError(f"base={base} is for one factor that varies; these vary: {', '.join(factors) or 'none'}.")
    (factor,) = factors
    table: Any = readings.assign(**{factor: readings[factor].astype(str)})
    options = [*dict.fromkeys(table[factor])]
    if base not in options:
        raise UserError(f"base={base} is not an option of {factor} here: it must be one of {', '.join(options)}.")
    check_readings(table)
    values = table.pivot(index="seed", columns=factor, values="value")
    effects = [
        paired_effect(f"{option} - {base}", option, (values[option] - values[base]).to_numpy())
        for option in options
        if option != base
    ]
    return OneAtATime(factor, base, sorted_by_size(adjusted_by_holm(effects)), len(values))
