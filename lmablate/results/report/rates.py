"""Loss against learning rate: which arm is ahead at a common rate, and which with each arm at its best rate."""

from dataclasses import dataclass, replace

import pandas as pd

from lmablate.evidence import learning_rate_sensitivity
from lmablate.results.exports import Exported
from lmablate.results.frames import get_column, select_rows
from lmablate.results.outcomes import has_diverged, lowest_untrained_loss
from lmablate.results.plots.mechanisms import LEARNING_RATE
from lmablate.results.report.study import final_losses


@dataclass(frozen=True)
class RateCurves:
    """Final losses of an experiment's arms at several learning rates.

    Attributes:
        means: final validation loss averaged over seeds, [arms, rates], in nats per token.
        sensitivity: learning-rate sensitivity by arm (arXiv 2309.14322).
        diverged: number of runs that diverged, and count as runs that learnt nothing.
        runs: number of all runs.
    """

    means: pd.DataFrame
    sensitivity: dict[str, float]
    diverged: int = 0
    runs: int = 0

    @property
    def best(self) -> dict[str, float]:
        """The rate at which each arm's mean is lowest."""
        return {str(arm): float(rate) for arm, rate in self.means.idxmin(axis=1).items()}

    @property
    def shared(self) -> list[float]:
        """The rates that every arm was trained at."""
        return [float(rate) for rate in self.means.dropna(axis="columns").columns]

    def ranking_at(self, rate: float) -> list[str]:
        """Return the arms from the lowest loss to the highest, all trained at this rate."""
        return _ascending(get_column(self.means, rate))

    @property
    def ranking_at_best(self) -> list[str]:
        """The arms from the lowest loss to the highest, each at its best rate."""
        return _ascending(self.means.min(axis=1))

    @property
    def ranking_sentence(self) -> str:
        """Sentences that compare the ranking at the best rates with those at the common rates."""
        best = " before ".join(f"{arm} (at {self.best[arm]:g})" for arm in self.ranking_at_best)
        flipped = [rate for rate in self.shared if self.ranking_at(rate) != self.ranking_at_best]
        if not flipped:
            same = "The order of the means is the same at every common rate and with each arm at its best"
            return f"{same}: {best}. {_NO_TEST}"
        at_common = "; ".join(f"at {rate:g} it is {' before '.join(self.ranking_at(rate))}" for rate in flipped)
        return f"The order of the means changes. With each arm at its best it is {best}; {at_common}. {_NO_TEST}"


# What an order of means does not say.
_NO_TEST = "These orders are no tests: seeds differ, and the best rates were chosen on the same runs."


def _ascending(losses: pd.Series) -> list[str]:
    return [str(arm) for arm in losses.sort_values(kind="stable").index]


def rate_curves(data: Exported) -> RateCurves | None:
    """Return the losses by arm and learning rate; None if the rate does not vary, or no run finished or diverged."""
    if LEARNING_RATE not in data.factors:
        return None
    rates = get_column(data.runs, LEARNING_RATE).astype(float)
    by_rate: dict[float, dict[str, float]] = {}
    for rate in sorted(rates.unique()):
        losses = final_losses(replace(data, runs=select_rows(data.runs, rates == rate)), without=[LEARNING_RATE])
        by_rate[rate] = {", ".join(arm) or "the model": float(values.mean()) for arm, values in losses.items()}
    means = pd.DataFrame(by_rate).rename_axis("arm").dropna(axis="columns", how="all")
    if means.empty:
        return None
    cap = lowest_untrained_loss(data)
    sensitivity = {str(arm): learning_rate_sensitivity(row.dropna().to_numpy(), cap) for arm, row in means.iterrows()}
    return RateCurves(means, sensitivity, sum(has_diverged(data.runs)), len(data.runs))
