"""MLP units that no token activates."""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached
from lmablate.model import MLP


class DeadUnits(Probe):
    """Dead MLP units, on the first evaluation batch (arXiv 2309.04827, section 3, for ReLU).

    Metrics:
        dead_units/layer_{i}: fraction of the layer's units that no token activates.

    A unit is one of the values that `down` reads. If the activation has a flat half (ReLU, ReLU²), a unit is active if
    it is not exactly zero. Smooth activations (GELU, SiLU, the gated ones) are almost never zero: there a unit is
    active if its absolute value is above `tolerance` times the root mean square of the layer's units.

    Args:
        tolerance: how small a unit of a smooth activation must be to count as zero, relative to the root mean square.
    """

    def __init__(self, tolerance: float = 1e-3) -> None:
        self.tolerance = tolerance

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return the fraction of dead units of each layer."""
        fractions: dict[str, Tensor | float] = {}

        def watch(i: int, mlp: MLP) -> RemovableHandle:
            def write_fraction(_: nn.Module, inputs: tuple[Tensor]) -> None:
                fractions[f"dead_units/layer_{i}"] = self.dead(mlp, inputs[0]).float().mean()

            return mlp.down.register_forward_pre_hook(write_fraction)

        with hooks_attached(watch(i, block.mlp) for i, block in enumerate(context.model.blocks)):
            context.model.hidden(context.tokens)
        return fractions

    def dead(self, mlp: MLP, hidden: Tensor) -> Tensor:
        """Return a mask [d_ff], True for each unit that no token activates.

        Args:
            mlp: the layer, whose activation decides what an active unit is.
            hidden: the units of all tokens, [batch, time, d_ff].
        """
        flat = not mlp.activation(torch.tensor([-1.0])).any()
        threshold = 0.0 if flat else self.tolerance * hidden.float().square().mean().sqrt()
        return hidden.abs().amax((0, 1)) <= threshold
