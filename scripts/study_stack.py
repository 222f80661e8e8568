"""Tables of docs/study.md on a stack: each of its parts beside the others, and alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lmablate.evidence.factorial import Effect, adjusted_by_holm, paired_effect
from lmablate.results.design_effects import readings_of
from lmablate.results.report.study import Study
from scripts.study_tables import ADD_ONE, LEAVE_ONE_OUT, in_words, sizes_table, trials_in_words, tuned_arms

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
    readings = [readings_of(study.experiments[name], "val/loss") for name in (LEAVE_ONE_OUT, ADD_ONE)]
    losses: Any = pd.concat(readings).pivot(index="seed", columns="stack", values="value")
    parts = [arm.removeprefix(f"{STACK}_only_") for arm in losses if "_only_" in arm]
    beside = pd.DataFrame({part: losses[f"{STACK}_without_{part}"] - losses[STACK] for part in parts})
    alone = pd.DataFrame({part: losses[BASE] - losses[f"{STACK}_only_{part}"] for part in parts})
    columns: dict[str, Any] = {
        "beside the others": beside,
        "alone": alone,
        "beside the others minus alone": beside - alone,
    }
    effects = [adjusted_by_holm([_paired(gains[part]) for part in parts]) for gains in columns.values()]
    yield f"| lowers the final validation loss, nats | {' | '.join(f'{name} | p, corrected' for name in columns)} |"
    yield f"|---{'|---|---:' * len(columns)}|"
    for part, *of_part in sorted(zip(parts, *effects, strict=True), key=lambda row: -row[1].value):
        yield f"| {part} | {' | '.join(f'{_words(effect)} | {effect.adjusted:.2g}' for effect in of_part)} |"
    whole = losses[BASE] - losses[STACK]
    sums = beside.sum(axis=1), alone.sum(axis=1)
    yield f"| sum of the parts | {' | | '.join(_words(_paired(gains)) for gains in sums)} | | | |"
    yield f"| the whole stack | {' | | '.join([_words(_paired(whole))] * 2)} | | | |"
    yield f"| the whole minus the sum | {' | | '.join(_words(_paired(whole - gains)) for gains in sums)} | | | |"


def _paired(gaps: pd.Series) -> Effect:
    return paired_effect("", "", gaps.to_numpy())


def _words(effect: Effect) -> str:
    return in_words(effect.value, effect.interval)


def stack_tables(exports: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rates of the stack's arms, what its parts do, and the runs."""
    study = Study.load(exports)
    yield "stack_rates", [*stack_rates_table()]
    yield "stack", [*stack_table(study)]
    yield "stack_sizes", [*sizes_table(study, [])]
