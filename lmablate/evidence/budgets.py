"""Effects over budgets: a difference of losses as a speed-up, and how a difference changes with the size of the model.

A budget is measured in training FLOPs: 6 N D and what attention adds, as `lmablate.model.size` counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import root_scalar

from lmablate.errors import UserError
from lmablate.evidence.samples import Sample
from lmablate.evidence.stats import slope

# Powers of ten beyond the largest budget that a line may be continued.
FARTHEST = 1.0


def log_speed_up(fast: tuple[ArrayLike, ArrayLike], slow: tuple[ArrayLike, ArrayLike]) -> float:
    """Return the logarithm of how many times fewer FLOPs one arm needs than another to the same loss.

    The loss is the one that the worse arm reaches with its largest budget. The budget at which the better arm reaches
    it lies on the monotone cubic curve through its losses over log FLOPs (Fritsch and Carlson 1980, SIAM J. Numer.
    Anal. 17, 238): curves of losses bend so much that straight lines between budgets twice as large each are off by
    2 % of the FLOPs. If the first arm is the worse one, the number is negative, and exchanging the arms changes its
    sign.

    Args:
        fast: FLOPs of the runs of one arm, ascending, and their final losses in nats per token.
        slow: the same of the other arm.

    Returns:
        The logarithm; infinite if even the smallest budget of the better arm reaches the loss, so that the speed-up is
        at least the ratio of the largest budget of the one to the smallest of the other.

    Raises:
        UserError: if an arm has fewer than two budgets, or they do not ascend.
    """
    (flops, losses), (other_flops, other_losses) = (_as_curve(*curve) for curve in (fast, slow))
    if losses[-1] > other_losses[-1]:
        return -log_speed_up(slow, fast)
    reached = _log_budget_at(flops, losses, float(other_losses[-1]))
    return float(np.log(other_flops[-1])) - reached


def _as_curve(flops: ArrayLike, losses: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    budgets, values = np.asarray(flops, dtype=float), np.asarray(losses, dtype=float)
    if budgets.ndim != 1 or budgets.size < 2 or budgets.shape != values.shape or not (np.diff(budgets) > 0).all():
        raise UserError(f"A curve needs two budgets or more, ascending, each with its loss, not {budgets.tolist()}.")
    return budgets, values


def _log_budget_at(flops: NDArray[np.float64], losses: NDArray[np.float64], target: float) -> float:
    """Return the log FLOPs at which a curve first reaches a loss; −inf if it begins below it. It does reach it."""
    at = int(np.argmax(losses <= target))
    if at == 0:
        return -np.inf
    logs = np.log(flops)
    curve, bracket = PchipInterpolator(logs, losses), (logs[at - 1], logs[at])
    return root_scalar(lambda log_flops: float(curve(log_flops)) - target, bracket=bracket, xtol=1e-9).root


@dataclass(frozen=True)
class Ladder:
    """The paired difference of two arms at several sizes of the model, each with a budget of its own.

    To each seed's differences a line is fitted over the logarithm of the FLOPs. The seeds' lines are independent, so
    their slopes and their values at some budget are samples like any other.

    Attributes:
        flops: the training FLOPs of each rung, ascending: the geometric mean of the two arms.
        effects: by how much the first arm's loss is lower, in nats per token: [seeds, rungs].
    """

    flops: tuple[float, ...]
    effects: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, flops: Sequence[float], effects: ArrayLike) -> Self:
        """Return the ladder of an array of effects.

        Raises:
            UserError: if there are fewer than three rungs, FLOPs do not ascend, or an effect is not finite.
        """
        array = np.asarray(effects, dtype=float)
        if len(flops) < 3 or not (np.diff(flops) > 0).all():
            raise UserError(f"A ladder needs three rungs or more, with more FLOPs each, not {[*flops]}.")
        if array.ndim != 2 or array.shape[1] != len(flops) or not array.size or not np.isfinite(array).all():
            raise UserError("A ladder needs one finite effect for each seed and each rung.")
        return cls(tuple(map(float, flops)), tuple(map(tuple, array.tolist())))

    @cached_property
    def _decades(self) -> NDArray[np.float64]:
        return np.log10(self.flops)

    @cached_property
    def slopes(self) -> Sample:
        """The change of the effect from ten times the FLOPs, by seed, in nats per token."""
        return Sample.of([slope(self._decades, effects) for effects in self.effects])

    def rung(self, number: int) -> Sample:
        """Return the measured effects at a rung; −1 is the largest."""
        return Sample.of([effects[number] for effects in self.effects])

    def at(self, flops: float) -> Sample:
        """Return the effects on the seeds' lines at a budget.

        Raises:
            UserError: if it is more than ten times the largest budget that was trained, or less than the smallest.
        """
        farthest = 10**FARTHEST * self.flops[-1]
        if not self.flops[0] <= flops <= farthest * (1 + 1e-9):
            raise UserError(
                f"{flops:.3g} FLOPs is not allowed: the lines hold from {self.flops[0]:.3g}, the smallest budget, to "
                f"{farthest:.3g}, ten times the largest."
            )
        return Sample.of([_on_line(self._decades, effects, np.log10(flops)) for effects in self.effects])

    @cached_property
    def held_out(self) -> Sample:
        """By how much the lines through all rungs but the largest miss the effect there: predicted minus measured."""
        lower, top = self._decades[:-1], self._decades[-1]
        return Sample.of([_on_line(lower, effects[:-1], top) - effects[-1] for effects in self.effects])


def _on_line(x: NDArray[np.float64], y: Sequence[float], at: float) -> float:
    """Return the value at `at` of the line that is fitted to points by least squares."""
    return float(np.mean(y) + slope(x, y) * (at - np.mean(x)))
