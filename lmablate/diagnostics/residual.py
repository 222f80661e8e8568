"""What each layer does to the residual stream."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached
from lmablate.model import Block


class Residual(Probe):
    """How much a layer changes the stream x, on the first evaluation batch.

    residual/branch_ratio_attn/layer_{i}, residual/branch_ratio_mlp/layer_{i}: ||F(x)|| / ||x|| where the
        branch adds F(x) to x; mean over tokens. Where the representation collapses it vanishes
        with depth (arXiv 2004.08249, 2304.14802).
    residual/stream_cosine/layer_{i}: cosine of x before and after block i, mean over tokens; one minus it is
        the block influence of arXiv 2403.03853, equation 1.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        panel: dict[str, Tensor | float] = {}
        layers = list(enumerate(context.model.blocks))
        watches = [handle for i, block in layers for handle in _watch(block, f"layer_{i}", panel)]  # pyright: ignore[reportArgumentType]
        with hooks_attached(watches):
            context.model.hidden(context.tokens)
        return panel


def _watch(block: Block, layer: str, panel: dict[str, Tensor | float]) -> list[RemovableHandle]:
    """Hooks that write the block's three numbers into `panel` when it runs."""

    def write_cosine(_: nn.Module, before: tuple[Tensor], after: Tensor) -> None:
        panel[f"residual/stream_cosine/{layer}"] = F.cosine_similarity(before[0], after, dim=-1).mean()

    return [
        *_watch_branch(block.norm_1, block.attn, f"residual/branch_ratio_attn/{layer}", panel),
        *_watch_branch(block.norm_2, block.mlp, f"residual/branch_ratio_mlp/{layer}", panel),
        block.register_forward_hook(write_cosine),
    ]


def _watch_branch(
    norm: nn.Module, branch: nn.Module, name: str, panel: dict[str, Tensor | float]
) -> list[RemovableHandle]:
    """Of a branch and its norm, the one that runs first reads the stream, wherever the norm stands."""
    stream: list[Tensor] = []

    def see(_: nn.Module, inputs: tuple[Tensor]) -> None:
        stream.append(inputs[0])

    def write_ratio(_: nn.Module, __: tuple[Tensor], added: Tensor) -> None:
        panel[name] = (added.norm(dim=-1) / stream[0].norm(dim=-1)).mean()

    return [
        norm.register_forward_pre_hook(see),
        branch.register_forward_pre_hook(see),
        branch.register_forward_hook(write_ratio),
    ]
