"""What the model would lose with a layer."""

from torch import Tensor

from lmablate.diagnostics.probe import Moment, Probe, hooked
from lmablate.loss import linear_cross_entropy
from lmablate.model import Transformer


class DroppedLayers(Probe):
    """residual/drop_loss/layer_{i}: by how many nats per token the loss on the first evaluation batch rises
    when the stream skips block i (arXiv 1605.06431, section 4.1). At step 0 and at the end.
    """

    def at_evaluation(self, moment: Moment) -> dict[str, Tensor | float]:
        if moment.step > 0 and not moment.is_last:
            return {}
        whole = loss(moment.model, moment.tokens, moment.targets)
        return {
            f"residual/drop_loss/layer_{i}": loss_without(i, moment.model, moment.tokens, moment.targets) - whole
            for i in range(len(moment.model.blocks))
        }


def loss(model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(model.hidden(tokens), model.head.weight, targets)


def loss_without(i: int, model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    """The loss when block `i` hands on what it was given."""
    with hooked([model.blocks[i].register_forward_hook(lambda _, inputs, __: inputs[0])]):
        return loss(model, tokens, targets)
