"""Averages of the weights over the steps of training. Training goes on with the weights themselves."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmablate.errors import UserError


class NoAverage:
    """No average: a run is judged by its last weights. Also the base of the averages.

    Attributes:
        KEEPS: names of the tensors that are kept of each parameter, of its shape.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ()

    def new_state(self, p: Tensor) -> dict[str, Tensor]:
        """Return what is kept of a parameter before its first step."""
        return {key: torch.zeros_like(p) for key in self.KEEPS}

    def update_(self, params: Sequence[Tensor], states: Sequence[dict[str, Any]]) -> None:
        """Take the weights after a step into the average.

        Args:
            params: the parameters.
            states: what the optimizer keeps of each; "step" is the number of the step, from 1.
        """


class EMA(NoAverage):
    """The exponential moving average of the weights, without a bias towards zero (arXiv 1412.6980, section 7.2).

        a ← d a + (1 - d) θ,   divided by 1 - dᵗ after step t

    So it is the mean of all weights so far, each counting d times as much as the next one.

    Args:
        decay: d, in [0, 1); about the last 1 / (1 - d) steps count.

    Raises:
        UserError: if the decay is out of range.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ("average",)

    def __init__(self, decay: float = 0.99) -> None:
        if isinstance(decay, bool) or not 0 <= decay < 1:
            raise UserError(f"optim.average.decay={decay} is not allowed: it must be a number from 0 to below 1.")
        self.decay = decay

    def update_(self, params: Sequence[Tensor], states: Sequence[dict[str, Any]]) -> None:
        """Take the weights after a step into the average, which is kept divided by 1 - dᵗ."""
        for p, state in zip(params, states, strict=True):
            state["average"].lerp_(p.detach(), (1 - self.decay) / (1 - self.decay ** int(state["step"])))
