"""How much each layer changes the residual stream."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached
from lmablate.model import Block


class Residual(Probe):
    """How much each layer changes the stream x, on the first evaluation batch.

    Metrics:
        residual/branch_ratio_attn/layer_{i}: ||F(x)|| / ||x||, where attention adds F(x) to x; mean over tokens. If the
            representation collapses, the ratio vanishes with depth (arXiv 2004.08249, 2304.14802).
        residual/branch_ratio_mlp/layer_{i}: the same for the MLP.
        residual/stream_cosine/layer_{i}: cosine of x before and after block i, mean over tokens; one minus it is the
            block influence of arXiv 2403.03853, equation 1.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return the two ratios and the cosine of each layer."""
        metrics: dict[str, Tensor | float] = {}
        handles: list[RemovableHandle] = []
        for i, block in enumerate(context.model.blocks):
            handles += _watch(block, f"layer_{i}", metrics)
        with hooks_attached(handles):
            context.model.hidden(context.tokens)
        return metrics


def _watch(block: Block, layer: str, metrics: dict[str, Tensor | float]) -> list[RemovableHandle]:
    """Attach hooks that write the block's three numbers into `metrics` when it runs."""

    def write_cosine(_: nn.Module, before: tuple[Tensor], after: Tensor) -> None:
        metrics[f"residual/stream_cosine/{layer}"] = F.cosine_similarity(before[0], after, dim=-1).mean()

    return [
        *_watch_branch(block.norm_1, block.attn, f"residual/branch_ratio_attn/{layer}", metrics),
        *_watch_branch(block.norm_2, block.mlp, f"residual/branch_ratio_mlp/{layer}", metrics),
        block.register_forward_hook(write_cosine),
    ]


def _watch_branch(
    norm: nn.Module, branch: nn.Module, name: str, metrics: dict[str, Tensor | float]
) -> list[RemovableHandle]:
    """Attach hooks that write ||F(x)|| / ||x|| of a branch into `metrics` under `name`.

    The stream x is the input of whichever runs first, the branch or its norm; so this works wherever the norm stands.
    """
    stream: list[Tensor] = []

    def note_input(_: nn.Module, inputs: tuple[Tensor]) -> None:
        stream.append(inputs[0])

    def write_ratio(_: nn.Module, __: tuple[Tensor], added: Tensor) -> None:
        metrics[name] = (added.norm(dim=-1) / stream[0].norm(dim=-1)).mean()

    return [
        norm.register_forward_pre_hook(note_input),
        branch.register_forward_pre_hook(note_input),
        branch.register_forward_hook(write_ratio),
    ]
