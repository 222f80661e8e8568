"""What a diverged run counts as, by what is read of it: the one rule of verdicts, figures and the search for rates.

A run whose loss or gradient is not finite ends in the state "failed" with the error "diverged at step N". That is an
outcome, and leaving it out would make an arm look the better the more often it diverges. A run that failed for another
reason, such as memory or a lost machine, says nothing of its arm: it is run again, and never replaced by a number.

The rule, with `untrained` the loss of a model that has learnt nothing: the lower of its loss at initialisation and
ln V, since an initialisation may start far above ln V (the cap of arXiv 2309.14322):

    what ended before the divergence     is kept, such as a reading at step 0
    final loss                           min(loss, untrained), the untrained loss for a diverged run
    mean loss, late change of the loss   the untrained loss is carried forward from the divergence
    gradient norm, spikes, peak          the worst rank: higher than any other, of no size
    any other, such as a probe           missing: anything that it could have been

ICH E9(R1) calls the second a composite strategy; worst ranks are those of Lachin 1999, Controlled Clin. Trials 20, 408.
"""

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

LOSSES = ("train/loss", "val/loss")
# A metric of the fixed validation batches, and the same of the whole validation file at the end of a run. Final values
# are those of the file if every finished run of the experiment has them, so that only like is compared with like.
WHOLE_FILE = {"val/loss": "final/val_loss", "val/bpb": "final/val_bpb"}
_STEP = re.compile(r"(?:Diverged: )?diverged at step ([0-9]+)")
# Reductions whose value says how unstable a run is, whatever the metric, and metrics that say so in any reduction.
_UNSTABLE_REDUCTIONS = ("spikes", "peak_to_median", "sd")
_UNSTABLE_METRICS = ("grad_norm", "clipped")
# Reductions to a step of training: an earlier or a later one is no worse.
_STEPS = ("peak_step", "rise_step")
_CARRIED_REDUCTIONS = ("last", "mean", "change")


class Substitute(Enum):
    """What stands for a reading of a diverged run that the divergence has cut."""

    UNTRAINED = "untrained"
    WORST = "worst"
    MISSING = "missing"


def final_loss(status: Mapping[str, Any]) -> float:
    """Return the final loss of a finished run by its status.json, in nats per token; of the whole file, if known."""
    return float(status.get(WHOLE_FILE["val/loss"], status["val/loss"]))


def step_of_divergence(state: object, error: object) -> float | None:
    """Return the step at which a run diverged, by its state and its error; None if it did not."""
    found = _STEP.match(error) if state == "failed" and isinstance(error, str) else None
    return float(found[1]) if found else None


def substitute_of(metric: str, reduce: str, is_difference: bool) -> Substitute:
    """Return what stands for a reading that a divergence has cut.

    Args:
        metric: the metric that is read.
        reduce: how its values become one number.
        is_difference: whether another metric is subtracted.
    """
    if not is_difference and metric in LOSSES and reduce in _CARRIED_REDUCTIONS:
        return Substitute.UNTRAINED
    ranked = reduce in _UNSTABLE_REDUCTIONS or (metric.startswith(_UNSTABLE_METRICS) and reduce not in _STEPS)
    return Substitute.WORST if ranked and not is_difference else Substitute.MISSING


def untrained_loss(initial: float, over_uniform: float = math.nan) -> float:
    """Return the loss of a model that has learnt nothing, in nats per token.

    Args:
        initial: its loss at initialisation.
        over_uniform: the same minus ln V; NaN if it was not logged.
    """
    return initial - max(0.0, over_uniform) if math.isfinite(over_uniform) else initial


def composite_loss(loss: float, untrained: float) -> float:
    """Return the final loss as it counts: min(loss, untrained), and the untrained loss if it is not finite.

    Args:
        loss: the final loss in nats per token; NaN or infinite for a diverged run.
        untrained: the loss of a model that has learnt nothing; NaN or infinite if unknown, and then it caps nothing.
    """
    if not math.isfinite(loss):
        return untrained
    return min(loss, untrained) if math.isfinite(untrained) else loss
