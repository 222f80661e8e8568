"""Where a model starts from, before its first update."""

import math

import torch
from torch import Tensor

from lmablate.diagnostics.probe import Moment, Probe, logits_by_row
from lmablate.loss import cross_entropy
from lmablate.model import Transformer


class Start(Probe):
    """Loss and scales at step 0, on the first evaluation batch.

    A model that knows nothing should predict uniformly: a loss of ln V nats, logits that are close together
    (arXiv 2203.03466 on how an output layer's scale at init should depend on its width).

    init/loss: nats per token. init/loss_over_uniform: that minus ln V.
    init/logit_std: standard deviation of a token's logits over the vocabulary, root mean square over tokens.
    init/position_ratio: rms of what the position scheme adds to the token embeddings, over their own;
        absent where it adds nothing.
    """

    def at_evaluation(self, moment: Moment) -> dict[str, Tensor | float]:
        if moment.step > 0:
            return {}
        losses, variances = [], []
        for logits, targets in zip(logits_by_row(moment.model, moment.tokens), moment.targets, strict=True):
            losses.append(cross_entropy(logits, targets).mean())
            variances.append(logits.float().var(-1).mean())
        loss = torch.stack(losses).mean()
        return {
            "init/loss": loss,
            "init/loss_over_uniform": loss - math.log(moment.model.vocab_size),
            "init/logit_std": torch.stack(variances).mean().sqrt(),
            **position_ratio(moment.model, moment.tokens),
        }


def position_ratio(model: Transformer, tokens: Tensor) -> dict[str, Tensor | float]:
    x = model.embed(tokens)
    added = model.pos.embed(x) - x
    return {"init/position_ratio": added.norm() / x.norm()} if added.any() else {}
