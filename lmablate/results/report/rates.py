"""Loss against learning rate: who is ahead at a common rate, and who at each arm's best."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lmablate.evidence import learning_rate_sensitivity
from lmablate.results.exports import Exported
from lmablate.results.report.arms import done_runs, final_losses

RATE = "optim.lr"


@dataclass(frozen=True)
class RateCurves:
    """means: arms x rates, final validation loss averaged over seeds. sensitivity: by arm, arXiv 2309.14322."""

    means: pd.DataFrame
    sensitivity: dict[str, float]

    @property
    def best(self) -> dict[str, float]:
        """The rate at which each arm's mean is lowest."""
        return {str(arm): float(rate) for arm, rate in self.means.idxmin(axis=1).items()}

    @property
    def shared(self) -> list[float]:
        """Rates that every arm was trained at."""
        return [float(rate) for rate in self.means.dropna(axis="columns").columns]

    def at(self, rate: float) -> list[str]:
        """The arms from the lowest loss to the highest, all trained at this rate."""
        return _ascending(self.means[rate])

    @property
    def at_best(self) -> list[str]:
        """The arms from the lowest loss to the highest, each at its best rate."""
        return _ascending(self.means.min(axis=1))

    @property
    def sentence(self) -> str:
        """Whether the ranking depends on the rate that one happens to choose."""
        best = " before ".join(f"{arm} (at {self.best[arm]:g})" for arm in self.at_best)
        flipped = [rate for rate in self.shared if self.at(rate) != self.at_best]
        if not flipped:
            return f"The ranking is the same at every common rate and with each arm at its best: {best}."
        at_common = "; ".join(f"at {rate:g} it is {' before '.join(self.at(rate))}" for rate in flipped)
        return f"The ranking flips. With each arm at its best it is {best}; {at_common}."


def _ascending(losses: Any) -> list[str]:
    return [str(arm) for arm in losses.sort_values(kind="stable").index]


def rate_curves(data: Exported) -> RateCurves | None:
    """None where the learning rate does not vary, or no run is finished."""
    if RATE not in data.factors:
        return None
    runs: Any = done_runs(data)
    by_rate: dict[float, dict[str, float]] = {}
    for rate in sorted(runs[RATE].astype(float).unique()):
        at_rate = replace(data, runs=runs.loc[runs[RATE].astype(float) == rate])
        losses = final_losses(at_rate, without=[RATE])
        by_rate[rate] = {", ".join(arm) or "the model": float(values.mean()) for arm, values in losses.items()}
    means = pd.DataFrame(by_rate).rename_axis("arm")
    if means.empty:
        return None
    start = _initial_loss(data)
    sensitivity = {str(arm): learning_rate_sensitivity(row.dropna().to_numpy(), start) for arm, row in means.iterrows()}
    return RateCurves(means, sensitivity)


def _initial_loss(data: Exported) -> float:
    """The largest loss at initialisation that the experiment has, in nats; infinite where none was logged."""
    values = data.metrics.rows("init/loss")["value"].to_numpy()
    return float(values.max()) if len(values) else float(np.inf)
