"""The final losses of runs as they count: those of diverged runs by the rule of `lmablate.evidence.divergence`."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from lmablate.evidence.divergence import WHOLE_FILE, composite_loss, step_of_divergence, untrained_loss
from lmablate.results.exports import Exported
from lmablate.results.frames import get_column, select_rows


def has_diverged(runs: pd.DataFrame) -> list[bool]:
    """Return for each row of a table of runs whether the run diverged."""
    errors = get_column(runs, "error") if "error" in runs.columns else [None] * len(runs)
    return [step_of_divergence(*row) is not None for row in zip(get_column(runs, "state"), errors, strict=True)]


def counted_losses(data: Exported, metric: str = "val/loss", states: Collection[str] = ("done",)) -> dict[str, float]:
    """Return the final loss of each run that finished or diverged, by its id, in nats per token.

    A run without the loss is left out, and so is a diverged one if no run logged a loss at initialisation.

    Args:
        data: the experiment.
        metric: the loss.
        states: the states of finished runs.
    """
    runs = select_rows(data.runs, [state in states for state in get_column(data.runs, "state")])
    metric = final_metric(data, metric, states)
    if metric in runs.columns:  # the table of runs has its last value
        final = dict(zip(runs["run"].tolist(), runs[metric].astype(float).tolist(), strict=True))
    else:
        wide = data.metrics.wide(metric, runs["run"].tolist()).ffill()
        final = wide.iloc[-1].to_dict() if len(wide) else {}
    untrained = _untrained(data)
    losses = {}
    for run, cut in zip(get_column(data.runs, "run").tolist(), has_diverged(data.runs), strict=True):
        if cut:
            losses[run] = untrained.get(run, min(untrained.values(), default=np.nan))
        elif run in final:
            losses[run] = composite_loss(final[run], untrained.get(run, np.nan))
    return {run: loss for run, loss in losses.items() if not np.isnan(loss)}


def final_metric(data: Exported, metric: str, states: Collection[str] = ("done",)) -> str:
    """Return what final values are read from: the metric of the whole validation file, if all finished runs have it.

    Args:
        data: the experiment.
        metric: a metric of an evaluation.
        states: the states of finished runs.
    """
    finished = {run for run, state in zip(data.runs["run"], data.runs["state"], strict=True) if state in states}
    whole = WHOLE_FILE.get(metric)
    return whole if whole and finished and finished <= {*data.metrics.rows(whole)["run"]} else metric


def lowest_untrained_loss(data: Exported) -> float:
    """Return the lowest loss of a model of the experiment that has learnt nothing; infinite if none was logged."""
    return min(_untrained(data).values(), default=np.inf)


def _untrained(data: Exported) -> dict[str, float]:
    first = {
        metric: data.metrics.rows(metric).drop_duplicates("run").set_index("run")["value"].to_dict()
        for metric in ("init/loss", "init/loss_over_uniform")
    }
    initial, over = first.values()
    return {str(run): untrained_loss(loss, over.get(run, np.nan)) for run, loss in initial.items()}
