"""How an experiment's arms start, read back from its exports: the audit of runs that are already there."""

from dataclasses import replace
from typing import Any

import numpy as np

from lmablate.evidence.confounds import ArmStart, find_confounds
from lmablate.files import read_json
from lmablate.results.exports import Exported
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.style import level_name
from lmablate.results.report.rates import RATE

NO_MATTER_AT_START = ("optim.",)
"""Prefix of factors that change nothing before the first update."""


def warnings(data: Exported) -> list[str]:
    """The confounds among the arms, one sentence each, in the words of `lmablate.audit`."""
    later = [factor for factor in data.factors if factor.startswith(NO_MATTER_AT_START)]
    arms = Arms(replace(data, runs=data.runs.drop(columns=later)))
    starts = [_start(arms, arm.levels, arm.complete) for arm in arms.arms]
    seeds = len({*data.runs["seed"]})
    rates = data.metrics.rows("lr")["value"].to_numpy()
    common_lr = float(rates.max()) if len(rates) and RATE not in data.factors else None
    return list(find_confounds([each for each in starts if each], seeds, common_lr))


def _start(arms: Arms, levels: Any, runs: list[str]) -> ArmStart | None:
    """The mean over an arm's finished runs; None where it has none."""
    if not runs:
        return None
    facts = arms.data.runs.loc[arms.data.runs["run"].isin(runs)]

    def first(metric: str) -> float:
        wide = arms.wide(metric, runs)
        return float(wide.iloc[0].mean()) if len(wide) else float("nan")

    loss = first("init/loss")
    return ArmStart(
        name=", ".join(level_name(factor, level) for factor, level in levels.items()) or "the model",
        parameters=float(facts["parameters"].mean()),
        mlp_parameters=float("nan"),
        flops_per_token=float(facts["flops_per_token"].mean()),
        grad_clip=first("grad_norm_clipped") if first("clipped") == 1 else np.inf,
        uniform=loss - first("init/loss_over_uniform"),
        init_loss=loss,
        logit_std=first("init/logit_std"),
        grad_norm=first("grad_norm"),
        position_ratio=first("init/position_ratio"),
    )


def stored(folder: Any, experiment: str) -> dict[str, Any]:
    """What `python -m lmablate.audit experiment=NAME out=FOLDER/NAME.audit.json` found; empty where nobody asked."""
    path = folder / f"{experiment}.audit.json"
    return read_json(path) if path.exists() else {}
