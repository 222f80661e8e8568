"""How large the gradient is, where, and how often it is clipped."""

import torch
from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext


class GradNorms(Probe):
    """The gradient's 2-norm after clipping (arXiv 1211.5063) and, before it, of each part of the model.

    clipped: 1 where the step was clipped, else 0; its mean over steps is the clipped fraction.
    grad_norm_clipped: of all parameters together, as the optimizer sees it.
    grad_norm/layer_{i}, grad_norm/embed, grad_norm/head: before clipping; a tied matrix is the embedding's.
    """

    def at_step(self, context: ProbeContext) -> dict[str, Tensor | float]:
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
    """The part that a parameter belongs to: "blocks.3.attn.q.weight" is layer_3's; None for the others."""
    match name.split("."):
        case ["blocks", i, *_]:
            return f"layer_{i}"
        case ["embed" | "head" as part, *_]:
            return part
    return None
