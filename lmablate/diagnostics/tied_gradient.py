"""Whether the two uses of a tied embedding matrix pull it in different directions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmablate.diagnostics.probe import Moment, Probe
from lmablate.loss import linear_cross_entropy


class TiedGradient(Probe):
    """The two parts of the gradient of a tied matrix W (arXiv 1608.05859, section 3), on the first evaluation
    batch:

        dL/dW = [dL/dW as embedding] + [dL/dW as output matrix]

    tied_grad/cosine: between the parts; negative where they conflict.
    tied_grad/norm_ratio: Frobenius norm of the input part over that of the output part.

    An untied model has a matrix for each part: there untied_grad/cosine and untied_grad/norm_ratio.
    """

    def at_evaluation(self, moment: Moment) -> dict[str, Tensor | float]:
        as_input, as_output = gradient_parts(moment)
        arm = "tied_grad" if moment.model.head.tied else "untied_grad"
        return {
            f"{arm}/cosine": F.cosine_similarity(as_input.flatten(), as_output.flatten(), dim=0),
            f"{arm}/norm_ratio": as_input.norm() / as_output.norm(),
        }


def gradient_parts(moment: Moment) -> tuple[Tensor, Tensor]:
    """dL/dW of the embedding and of the output matrix, [vocab_size, d_model] each."""
    model = moment.model
    with torch.enable_grad():
        # A leaf of its own, apart from the embedding even where the two are tied.
        output = model.head.weight.detach().requires_grad_()
        loss = linear_cross_entropy(model.hidden(moment.tokens), output, moment.targets)
        as_input, as_output = torch.autograd.grad(loss, (model.embed.weight, output))
        return as_input, as_output
