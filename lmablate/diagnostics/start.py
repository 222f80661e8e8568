"""Loss and scales of a model before its first update."""

import math

import torch
from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext, logits_by_row
from lmablate.model import Transformer, cross_entropy


class Start(Probe):
    """Loss and scales at step 0, on the first evaluation batch.

    A model that knows nothing should predict uniformly: its loss is ln V nats and its logits are close together
    (arXiv 2203.03466 on how an output layer's scale at init should depend on its width).

    Metrics:
        init/loss: nats per token.
        init/loss_over_uniform: init/loss minus ln V.
        init/logit_std: standard deviation of a token's logits over the vocabulary, root mean square over tokens.
        init/position_ratio: root mean square of what the position scheme adds to the token embeddings, divided by that
            of the embeddings; absent if the scheme adds nothing.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return loss and scales, if this is step 0."""
        if context.step > 0:
            return {}
        losses, variances = [], []
        for logits, targets in zip(logits_by_row(context.model, context.tokens), context.targets, strict=True):
            losses.append(cross_entropy(logits, targets).mean())
            variances.append(logits.float().var(-1).mean())
        loss = torch.stack(losses).mean()
        metrics: dict[str, Tensor | float] = {
            "init/loss": loss,
            "init/loss_over_uniform": loss - math.log(context.model.vocab_size),
            "init/logit_std": torch.stack(variances).mean().sqrt(),
        }
        ratio = position_ratio(context.model, context.tokens)
        if ratio > 0:
            metrics["init/position_ratio"] = ratio
        return metrics


@torch.no_grad()
def position_ratio(model: Transformer, tokens: Tensor) -> Tensor:
    """Return the root mean square of what the position scheme adds to the token embeddings, divided by theirs."""
    x = model.embed(tokens)
    added = model.pos.embed(x) - x
    return added.norm() / x.norm()
