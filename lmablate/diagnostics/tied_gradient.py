"""The two parts of a tied matrix's gradient, and whether they conflict."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext
from lmablate.model import linear_cross_entropy


class TiedGradient(Probe):
    """The two parts of a tied matrix's gradient, on the first evaluation batch (arXiv 1608.05859, section 3).

    dL/dW = [dL/dW as embedding] + [dL/dW as output matrix]

    Metrics:
        tied_grad/cosine: cosine between the parts; negative if they conflict.
        tied_grad/norm_ratio: Frobenius norm of the embedding part divided by that of the output part.
        untied_grad/cosine, untied_grad/norm_ratio: the same for an untied model, which has a matrix for each part.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return cosine and ratio of the two parts."""
        as_input, as_output = gradient_parts(context)
        arm = "tied_grad" if context.model.head.tied else "untied_grad"
        return {
            f"{arm}/cosine": F.cosine_similarity(as_input.flatten(), as_output.flatten(), dim=0),
            f"{arm}/norm_ratio": as_input.norm() / as_output.norm(),
        }


def gradient_parts(context: ProbeContext) -> tuple[Tensor, Tensor]:
    """Return dL/dW of the embedding and of the output matrix, [vocab_size, d_model] each."""
    model = context.model
    with torch.enable_grad():
        # A separate leaf, so that the two parts stay apart even if the matrices are tied.
        output = model.output_weight.detach().requires_grad_()
        loss = linear_cross_entropy(model.hidden(context.tokens), output, context.targets, model.logits.cap)
        as_input, as_output = torch.autograd.grad(loss, (model.embed.weight, output))
        return as_input, as_output
