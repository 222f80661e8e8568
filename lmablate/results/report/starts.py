"""Confounds among an experiment's arms: in how its runs started, or in the audit stored beside its exports."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmablate.evidence.confounds import ArmStart, find_confounds
from lmablate.evidence.facts import BUDGET_FACTORS
from lmablate.files import TEXT, TEXTS, object_with, read_record
from lmablate.results.exports import Exported
from lmablate.results.frames import Scalar, get_column, group_rows, select_rows
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.mechanisms import LEARNING_RATE
from lmablate.results.plots.style import level_name

# Prefix of factors that change nothing before the first update.
UPDATE_FACTORS = "optim."
AUDIT_SCHEMA = object_with({"warnings": TEXTS}, command=TEXT, scale={"type": ["string", "null"]}, machine=TEXT)


def find_confounds_in_exports(data: Exported) -> list[str]:
    """Return the confounds among the arms, one sentence each, in the words of `lmablate.audit`."""
    later = [factor for factor in data.factors if factor.startswith(UPDATE_FACTORS)]
    arms = Arms(replace(data, runs=data.runs.drop(columns=later)))
    starts = [_arm_start(arms, arm.levels, arm.complete) for arm in arms.arms]
    seeds = len({*data.runs["seed"]})
    known = [start for start in starts if start]
    highest = {float(get_column(rows, "value").max()) for _, rows in group_rows(data.metrics.rows("lr"), ["run"])}
    shared = len(highest) == 1 and LEARNING_RATE not in data.factors
    rates = {start.name: max(highest) for start in known} if shared else None
    return list(find_confounds(known, seeds, rates))


def _arm_start(arms: Arms, levels: Mapping[str, Scalar], runs: list[str]) -> ArmStart | None:
    """Return the mean over an arm's finished runs; None if it has none."""
    if not runs:
        return None
    facts = select_rows(arms.data.runs, arms.data.runs["run"].isin(runs))

    def first(metric: str) -> float:
        wide = arms.wide(metric, runs)
        return float(wide.iloc[0].mean()) if len(wide) else float("nan")

    loss = first("init/loss")
    return ArmStart(
        name=", ".join(level_name(factor, level) for factor, level in levels.items()) or "the model",
        parameters=float(get_column(facts, "parameters").mean()),
        mlp_parameters=float("nan"),
        flops_per_token=float(get_column(facts, "flops_per_token").mean()),
        grad_clip=first("grad_norm_clipped") if first("clipped") == 1 else np.inf,
        uniform=loss - first("init/loss_over_uniform"),
        init_loss=loss,
        logit_std=first("init/logit_std"),
        grad_norm=first("grad_norm"),
        position_ratio=first("init/position_ratio"),
        budget=tuple(str(level) for factor, level in levels.items() if factor in BUDGET_FACTORS),
    )


def load_audit(folder: Path, experiment: str) -> dict[str, Any]:
    """Return the findings that `python -m lmablate.audit experiment=NAME out=FOLDER/NAME.audit.json` stored.

    Returns:
        The content of the file; empty if it does not exist.

    Raises:
        UserError: if the file is not what the audit writes.
    """
    path = folder / f"{experiment}.audit.json"
    return read_record(path, AUDIT_SCHEMA) if path.exists() else {}
