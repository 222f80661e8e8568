"""Whether the two uses of a tied embedding matrix pull it in different directions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmablate.diagnostics.probe import Probe, ProbeContext
from lmablate.model import linear_cross_entropy


class TiedGradient(Probe):
    """The two parts of the gradient of a tied matrix W (arXiv 1608.05859, section 3), on the first evaluation
    batch:

        dL/dW = [dL/dW as embedding] + [dL/dW as output matrix]

    tied_grad/cosine: between the parts; negative where they conflict.
    tied_grad/norm_ratio: Frobenius norm of the input part over that of the output part.

    An untied model has a matrix for each part: there untied_grad/cosine and untied_grad/norm_ratio.
    """

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        as_input, as_output = gradient_parts(context)
        arm = "tied_grad" if context.model.head.tied else "untied_grad"
        return {
            f"{arm}/cosine": F.cosine_similarity(as_input.flatten(), as_output.flatten(), dim=0),
            f"{arm}/norm_ratio": as_input.norm() / as_output.norm(),
        }


def gradient_parts(context: ProbeContext) -> tuple[Tensor, Tensor]:
    """dL/dW of the embedding and of the output matrix, [vocab_size, d_model] each."""
    model = context.model
    with torch.enable_grad():
        # A leaf of its own, apart from the embedding even where the two are tied.
        output = model.output_weight.detach().requires_grad_()
        loss = linear_cross_entropy(model.hidden(context.tokens), output, context.targets)
        as_input, as_output = torch.autograd.grad(loss, (model.embed.weight, output))
        return as_input, as_output
