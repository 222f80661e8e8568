"""Finds the first training step that is not finite, and keeps the steps before it."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class DivergenceCheck:
    """Checks every step, also those without a row of metrics, and keeps the last few.

    Losses and gradient norms stay on the device until `first_non_finite` fetches them all at once.
    """

    KEPT = 8

    def __init__(self) -> None:
        self.unchecked: list[tuple[int, Tensor, Tensor]] = []
        self.checked: list[tuple[int, Tensor, Tensor]] = []

    def add(self, step: int, loss: Float[Tensor, ""], norms: Float[Tensor, " params"]) -> None:
        """Add a step: its loss, and the norm of each parameter's gradient."""
        self.unchecked.append((step, loss, norms))

    def first_non_finite(self) -> int | None:
        """Return the first step since the last call whose loss or gradient is not finite; later steps are dropped."""
        steps, self.unchecked = self.unchecked, []
        if not steps:
            return None
        finite = torch.stack([loss.isfinite() & norms.isfinite().all() for _, loss, norms in steps]).tolist()
        end = finite.index(False) + 1 if False in finite else len(finite)
        self.checked = [*self.checked, *steps[:end]][-self.KEPT :]
        return None if all(finite) else steps[end - 1][0]

    def last_steps(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the last KEPT steps: the loss, and by parameter name the gradient's norm before clipping."""
        return [
            {"step": step, "train/loss": loss.item(), "grad_norm": dict(zip(names, norms.tolist(), strict=True))}
            for step, loss, norms in self.checked
        ]
