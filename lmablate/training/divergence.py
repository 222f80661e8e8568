"""The search for the first training step whose loss or gradient is not finite."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class DivergenceCheck:
    """Checks every step, also those without a row of metrics, and keeps the last KEPT of them for the record.

    Losses and gradient norms stay on the device until `first_non_finite` fetches them all at once.
    """

    KEPT = 8

    def __init__(self) -> None:
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []
        self._checked: list[tuple[int, Tensor, Tensor]] = []

    @property
    def n_unchecked(self) -> int:
        """The number of steps added since the last check."""
        return len(self._unchecked)

    def add(self, step: int, loss: Float[Tensor, ""], norms: Float[Tensor, " params"]) -> None:
        """Add a step: its loss in nats per token, and the 2-norm of each parameter's gradient before clipping."""
        self._unchecked.append((step, loss, norms))

    def first_non_finite(self) -> int | None:
        """Check the steps added since the last call.

        Returns:
            The first step whose loss or gradient is not finite; the steps after it are dropped. None if all are finite.
        """
        steps, self._unchecked = self._unchecked, []
        if not steps:
            return None
        finite = torch.stack([loss.isfinite() & norms.isfinite().all() for _, loss, norms in steps]).tolist()
        end = finite.index(False) + 1 if False in finite else len(finite)
        self._checked = [*self._checked, *steps[:end]][-self.KEPT :]
        return None if all(finite) else steps[end - 1][0]

    def last_steps(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the last KEPT steps that were checked: step, loss, and gradient norm by parameter name.

        Args:
            names: of the parameters, in the order of the norms.
        """
        return [
            {"step": step, "train/loss": loss.item(), "grad_norm": dict(zip(names, norms.tolist(), strict=True))}
            for step, loss, norms in self._checked
        ]
