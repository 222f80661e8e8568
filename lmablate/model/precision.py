"""Mixed precision: a cast for the operations that need more than 16 bits."""

import torch
from torch import Tensor


def to_at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 if it has fewer bits, else unchanged: sums of squares and exponentials need the digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
