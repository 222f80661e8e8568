"""The size of the gradient, in all and per layer, and how often it is clipped."""

import torch
from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext


class GradNorms(Probe):
    """The gradient's 2-norm: of the whole model after clipping (arXiv 1211.5063), of each part before it.

    Metrics:
        clipped: 1 if the step was clipped, else 0; its mean over steps is the fraction of clipped steps.
        grad_norm_clipped: norm over all parameters after clipping, as the optimizer sees it.
        grad_norm/layer_{i}: norm over the parameters of block i, before clipping.
        grad_norm/embed: norm over the embedding's matrix, before clipping; a tied matrix counts here.
        grad_norm/head: norm over the head's matrix, before clipping; absent if the head is tied.
    """

    def at_step(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return the norms of this step's gradient."""
        grad_norm, scale = context.grad_norm, context.clip_scale
        assert grad_norm is not None, "a training step has gradients"
        assert scale is not None, "a training step has gradients"
        parts: dict[str, list[Tensor]] = {}
        for name, norm in context.parameter_norms.items():
            if part := _part_of(name):
                parts.setdefault(part, []).append(norm)
        return {
            "clipped": (scale < 1).float(),
            "grad_norm_clipped": grad_norm * scale,
            **{f"grad_norm/{part}": torch.stack(norms).norm() for part, norms in parts.items()},
        }


def _part_of(name: str) -> str | None:
    """Return the part of the model that a parameter belongs to, or None if no metric counts it.

    "blocks.3.attn.q.weight" belongs to "layer_3".
    """
    match name.split("."):
        case ["blocks", i, *_]:
            return f"layer_{i}"
        case ["embed" | "head" as part, *_]:
            return part
    return None
