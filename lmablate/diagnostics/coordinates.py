"""The size of activations, which a coordinate check compares between widths."""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached


class Coordinates(Probe):
    """The root mean square of activations on the first evaluation batch: the coordinate check of arXiv 2203.03466, D.1.

    In a model that scales well none of them grows or shrinks with the width, at the start or after some steps. Only the
    logits of the first step may shrink, as they do with `model/scaling=mup`.

    Metrics:
        coordinates/attn/layer_{i}: of what attention returns.
        coordinates/mlp/layer_{i}: of what the MLP returns.
        coordinates/stream/layer_{i}: of the residual stream after block i.
        coordinates/logits: of the logits.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return the sizes."""
        sizes: dict[str, Tensor | float] = {}

        def watch(name: str, part: nn.Module) -> RemovableHandle:
            def write_size(_: nn.Module, __: tuple[Tensor], output: Tensor) -> None:
                sizes[f"coordinates/{name}"] = _rms(output)

            return part.register_forward_hook(write_size)

        model, watched = context.model, []
        for i, block in enumerate(model.blocks):
            parts = {"attn": block.attn, "mlp": block.mlp, "stream": block}
            watched += [watch(f"{name}/layer_{i}", part) for name, part in parts.items()]
        with hooks_attached(watched):
            sizes["coordinates/logits"] = _rms(model(context.tokens))
        return sizes


def _rms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.float()) / x.numel() ** 0.5
