"""Where sixteen bits are too few."""

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """`x` in float32 if it has fewer bits, else as it is: sums of squares and exponentials need the digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
