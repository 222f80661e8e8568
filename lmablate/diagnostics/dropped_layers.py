"""What the model would lose with a layer."""

from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext, hooks_attached
from lmablate.model import Transformer, linear_cross_entropy


class DroppedLayers(Probe):
    """residual/drop_loss/layer_{i}: by how many nats per token the loss on the first evaluation batch rises
    when the stream skips block i (arXiv 1605.06431, section 4.1). At step 0 and at the end.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        if context.step > 0 and not context.is_last:
            return {}
        whole = _loss(context.model, context.tokens, context.targets)
        return {
            f"residual/drop_loss/layer_{i}": _loss_without(i, context.model, context.tokens, context.targets) - whole
            for i in range(len(context.model.blocks))
        }


def _loss(model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(model.hidden(tokens), model.output_weight, targets)


def _loss_without(i: int, model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    """The loss when block `i` hands on what it was given."""
    with hooks_attached([model.blocks[i].register_forward_hook(lambda _, inputs, __: inputs[0])]):
        return _loss(model, tokens, targets)
