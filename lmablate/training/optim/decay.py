"""Weight decay: how much a parameter decays in a step. All optimizers share these classes."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Decoupled:
    """Decay beside the gradient, by the learning rate times λ, arXiv 1711.05101, algorithm 2.

        θ ← θ - lr(t) λ θ

    It is also the base of the other kinds. A parameter decays in the step before it is updated.

    Attributes:
        uniform: whether all elements of a parameter decay by the same factor, whatever its update is.
    """

    uniform = True

    def strength(self, weight_decay: float, peak: float) -> float:
        """Return what the learning rate of a step is multiplied by: a parameter loses lr(t) · strength of itself.

        Args:
            weight_decay: λ.
            peak: the highest learning rate, lr_max.
        """
        return weight_decay

    def shrink_(self, params: Sequence[Tensor], updates: Sequence[Tensor], amount: float) -> None:
        """Let the parameters decay, in place.

        Args:
            params: the parameters.
            updates: one tensor for each, with the sign of what will be subtracted from the parameter.
            amount: lr(t) · strength.
        """
        torch._foreach_mul_([*params], 1 - amount)


class Independent(Decoupled):
    """Decay that does not depend on the highest learning rate, only on the schedule's shape, arXiv 2309.14322.

        θ ← θ - (lr(t) / lr_max) λ θ

    lr_max is the learning rate that the optimizer was made with. λ is the share that is lost in a step at the peak, so
    it is much smaller than for `Decoupled`: λ_independent = lr_max · λ_decoupled decays as much.
    """

    def strength(self, weight_decay: float, peak: float) -> float:
        """Return λ / lr_max; nothing decays if the highest learning rate is 0."""
        return weight_decay / peak if peak > 0 else 0.0


class Cautious(Decoupled):
    """Decay only where it helps the update: where both move an element towards zero, arXiv 2510.12402.

        θ ← θ - lr(t) λ θ · [u θ ≥ 0],   u the update that is subtracted from θ

    An element whose update is 0 decays.
    """

    uniform = False

    def shrink_(self, params: Sequence[Tensor], updates: Sequence[Tensor], amount: float) -> None:
        """Let the elements decay whose update has their own sign."""
        if amount == 0:
            return
        for p, update in zip(params, updates, strict=True):
            p.sub_(p * (p * update.sign() >= 0), alpha=amount)  # the sign: a product of small numbers may become 0
