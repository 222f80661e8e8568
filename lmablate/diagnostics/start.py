"""Where a model starts from, before its first update."""

import math

import torch
from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext, logits_by_row
from lmablate.model import Transformer, cross_entropy


class Start(Probe):
    """Loss and scales at step 0, on the first evaluation batch.

    A model that knows nothing should predict uniformly: a loss of ln V nats, logits that are close together
    (arXiv 2203.03466 on how an output layer's scale at init should depend on its width).

    init/loss: nats per token. init/loss_over_uniform: that minus ln V.
    init/logit_std: standard deviation of a token's logits over the vocabulary, root mean square over tokens.
    init/position_ratio: rms of what the position scheme adds to the token embeddings, over their own;
        absent where it adds nothing.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        if context.step > 0:
            return {}
        losses, variances = [], []
        for logits, targets in zip(logits_by_row(context.model, context.tokens), context.targets, strict=True):
            losses.append(cross_entropy(logits, targets).mean())
            variances.append(logits.float().var(-1).mean())
        loss = torch.stack(losses).mean()
        return {
            "init/loss": loss,
            "init/loss_over_uniform": loss - math.log(context.model.vocab_size),
            "init/logit_std": torch.stack(variances).mean().sqrt(),
            **({"init/position_ratio": ratio} if (ratio := position_ratio(context.model, context.tokens)) > 0 else {}),
        }


@torch.no_grad()
def position_ratio(model: Transformer, tokens: Tensor) -> Tensor:
    """Return the rms of what the position scheme adds to the token embeddings, over their own rms."""
    x = model.embed(tokens)
    added = model.pos.embed(x) - x
    return added.norm() / x.norm()
