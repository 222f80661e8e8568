"""What mixes a token with its nearest predecessors before attention: nothing, or a short causal convolution."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.model.checks import check_floats, check_sizes
from lmablate.model.linear import new_matrix
from lmablate.model.pos import Stream


class NoMixer(nn.Module):
    """Each token as it is.

    Args:
        d_model: width of the residual stream.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_sizes({"model.d_model": d_model})

    def forward(
        self, x: Stream, before: Float[Tensor, "*batch earlier d_model"] | None = None
    ) -> tuple[Stream, Tensor | None]:
        """Return the mixed tokens, and what the tokens after them have to know of these.

        Args:
            x: the layer's input.
            before: what the call for the tokens before them returned; None at the start of a text.
        """
        return x, None


class Canon(NoMixer):
    """A causal convolution of each dimension by itself, beside the token: x[t] + Σᵢ w[:, i] ∘ x[t - i].

    Canon layer A of arXiv 2512.17351: it stands before attention. Before the start of a text there are zeros.

    Args:
        d_model: width of the residual stream.
        width: number of tokens that are mixed, the token itself included.

    Raises:
        UserError: if `width` is no size.
    """

    def __init__(self, d_model: int, *, width: Any = 4) -> None:
        super().__init__(d_model)
        check_sizes({"model.mixer.width": width})
        self.weight = new_matrix(d_model, width)

    def forward(
        self, x: Stream, before: Float[Tensor, "*batch earlier d_model"] | None = None
    ) -> tuple[Stream, Tensor | None]:
        """Return the mixed tokens, and the last of the unmixed ones."""
        (d_model, width), time = self.weight.shape, x.shape[-2]
        check_floats("x", x, "time", d_model)
        before = x.new_zeros(*x.shape[:-2], width - 1, d_model) if before is None else before
        known = torch.cat((before, x), -2)
        weight = self.weight.type_as(x)
        mixed = x
        for i in range(width):
            start = width - 1 - i
            mixed = mixed + weight[:, i] * known[..., start : start + time, :]
        return mixed, known[..., time:, :]
