"""Tables of docs/study.md on a stack: each of its parts beside the others, and alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lmablate.evidence.factorial import Effect, paired_effect
from lmablate.evidence.one_at_a_time import compare_with_base
from lmablate.results.design_effects import readings_of
from lmablate.results.report.study import Study
from scripts.study_tables import in_words, sizes_table, trials_in_words, tuned_arms

LEAVE_ONE_OUT, ADD_ONE = "leave_one_out", "add_one"
STACK, BASE = "modern", "none"


def stack_rates_table() -> Iterator[str]:
    """Yield a line for each part of the stack: the pilot's losses of the arm without it, and of that with it alone."""
    trials = {arm["arm"].removeprefix("stack="): trials_in_words(arm)
              for name in (LEAVE_ONE_OUT, ADD_ONE) for arm in tuned_arms(name)}  # fmt: skip
    yield "| part | the stack without it | it alone |"
    yield "|---|---|---|"
    yield f"| none | {trials[STACK]} | {trials[BASE]} |"
    parts = sorted(arm.removeprefix(f"{STACK}_without_") for arm in trials if "_without_" in arm)
    for part in parts:
        yield f"| {part} | {trials[f'{STACK}_without_{part}']} | {trials[f'{STACK}_only_{part}']} |"


def stack_table(study: Study) -> Iterator[str]:
    """Yield a line for each part of the stack: what it takes off the loss beside the others, and alone."""
    readings = {name: readings_of(study.experiments[name], "val/loss") for name in (LEAVE_ONE_OUT, ADD_ONE)}
    beside = _gains(readings[LEAVE_ONE_OUT], STACK, f"{STACK}_without_", sign=1)
    alone = _gains(readings[ADD_ONE], BASE, f"{STACK}_only_", sign=-1)
    yield "| lowers the final validation loss, nats | beside the others | p, corrected | alone | p, corrected |"
    yield "|---|---|---:|---|---:|"
    for part, effect in beside.items():
        cells = (part, _effect(effect), f"{effect.adjusted:.2g}", _effect(alone[part]), f"{alone[part].adjusted:.2g}")
        yield f"| {' | '.join(cells)} |"
    losses: Any = pd.concat(readings.values()).pivot(index="seed", columns="stack", values="value")
    without = losses.filter(like="_without_").sub(losses[STACK], axis=0).sum(axis=1)
    each = losses.filter(like="_only_").rsub(losses[BASE], axis=0).sum(axis=1)
    whole = losses[BASE] - losses[STACK]
    yield f"| sum of the parts | {_mean(without)} | | {_mean(each)} | |"
    yield f"| the whole stack | {_mean(whole)} | | {_mean(whole)} | |"
    yield f"| the whole minus the sum | {_mean(whole - without)} | | {_mean(whole - each)} | |"


def _gains(readings: pd.DataFrame, base: str, prefix: str, sign: int) -> dict[str, Effect]:
    """Return by how much each part lowers the loss, the largest first."""
    flipped = readings.assign(value=sign * readings["value"])
    return {effect.term.removeprefix(prefix): effect for effect in compare_with_base(flipped, base).effects}


def _effect(effect: Effect) -> str:
    return in_words(effect.value, effect.interval)


def _mean(gaps: pd.Series) -> str:
    return _effect(paired_effect("", "", gaps.to_numpy()))


def stack_tables(exports: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rates of the stack's arms, what its parts do, and the runs."""
    study = Study.load(exports)
    yield "stack_rates", [*stack_rates_table()]
    yield "stack", [*stack_table(study)]
    yield "stack_sizes", [*sizes_table(study, [])]
