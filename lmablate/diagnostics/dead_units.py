"""MLP units that have stopped taking part."""

import torch
from torch import Tensor, nn

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached
from lmablate.model import MLP


class DeadUnits(Probe):
    """dead_units/layer_{i}: the fraction of MLP units that no token of the first evaluation batch activates
    (arXiv 2309.04827, section 3, for ReLU).

    A unit is what `down` reads. Where the activation has a flat half (ReLU, ReLU²) active means not exactly
    zero. A smooth one (GELU, SiLU, the gated ones) is almost never zero: there active means an absolute value
    above `tolerance` times the root mean square of the layer's units.
    """

    def __init__(self, tolerance: float = 1e-3) -> None:
        self.tolerance = tolerance

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        fractions: dict[str, Tensor | float] = {}

        def watch(i: int, mlp: MLP):
            def write_fraction(_: nn.Module, inputs: tuple[Tensor]) -> None:
                fractions[f"dead_units/layer_{i}"] = self.dead(mlp, inputs[0]).float().mean()

            return mlp.down.register_forward_pre_hook(write_fraction)

        with hooks_attached(watch(i, block.mlp) for i, block in enumerate(context.model.blocks)):  # pyright: ignore[reportArgumentType]
            context.model.hidden(context.tokens)
        return fractions

    def dead(self, mlp: MLP, hidden: Tensor) -> Tensor:
        """True for each unit, [d_ff], that no token of `hidden` [batch, time, d_ff] activates."""
        flat = not mlp.activation(torch.tensor([-1.0])).any()
        bar = 0.0 if flat else self.tolerance * hidden.float().square().mean().sqrt()
        return hidden.abs().amax((0, 1)) <= bar
