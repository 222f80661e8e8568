"""How much the loss rises without a layer."""

from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached
from lmablate.model import Transformer, linear_cross_entropy


class DroppedLayers(Probe):
    """The loss that each block saves, at step 0 and at the end (arXiv 1605.06431, section 4.1).

    Metrics:
        residual/drop_loss/layer_{i}: rise of the loss on the first evaluation batch, in nats per token, when the stream
            skips block i.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return the rise of the loss for each block."""
        if context.step > 0 and not context.is_last:
            return {}
        whole = _loss(context.model, context.tokens, context.targets)
        return {
            f"residual/drop_loss/layer_{i}": _loss_without(i, context.model, context.tokens, context.targets) - whole
            for i in range(len(context.model.blocks))
        }


def _loss(model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(model.hidden(tokens), model.output_weight, targets, model.logits.cap)


def _loss_without(i: int, model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    """Return the loss if block `i` returns its input unchanged."""
    with hooks_attached([model.blocks[i].register_forward_hook(lambda _, inputs, __: inputs[0])]):
        return _loss(model, tokens, targets)
