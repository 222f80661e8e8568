"""Muon: momentum, orthogonalised, for the matrices of the blocks; AdamW for all other parameters."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.precision import to_at_least_float32
from lmablate.training.optim.adamw import AdamW
from lmablate.training.optim.base import DECOUPLED, Optimizer, block_groups, check_counts
from lmablate.training.optim.decay import Decoupled

# Of the polynomial a s + b s³ + c s⁵, chosen by Jordan (2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_EPS = 1e-7


class Muon(AdamW):
    """Momentum whose singular values are all made about 1, Jordan (2024); scaled as in arXiv 2502.16982.

        m ← μ m + (1 - μ) g
        u = (1 - μ) g + μ m   (Nesterov's momentum; else u = m)
        O = orthogonalised(u)
        θ ← θ - lr (0.2 sqrt(max(rows, columns)) O + λ θ)

    A gradient of a matrix has few large singular values, so a step of gradient descent moves few directions. O moves
    all of them by the same amount. Its elements have a root mean square of about 1 / sqrt(max(rows, columns)); the
    factor makes that 0.2, as large as usual updates of AdamW (arXiv 2502.16982, equation 4). So one learning rate and
    one λ serve both.

    In a model the matrices of the blocks, of attention and MLP, are updated in this way. All else (embedding, output
    matrix, positions, vectors, scalars) is in groups with `orthogonal=False`, and updated by `AdamW`.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        betas: of AdamW.
        eps: of AdamW.
        weight_decay: λ, of both.
        decay: how much a parameter decays in a step; by default as above.
        momentum: μ, in [0, 1).
        nesterov: whether the momentum is Nesterov's.
        ns_steps: steps of `orthogonalised`.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group, or for a parameter of an orthogonal group
            that is not a matrix of real numbers.
    """

    KEEPS: ClassVar[tuple[str, ...]] = (*AdamW.KEEPS, "momentum_buffer")
    RANGES: ClassVar[Mapping[str, float]] = {**AdamW.RANGES, "momentum": 1.0}
    # The largest singular value of an update is about 0.2 lr sqrt(width), and that of an update of Adam lr · width.
    WIDTH_POWERS: ClassVar[tuple[float, float]] = (-0.5, 0.0)

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        decay: Decoupled = DECOUPLED,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        # Not through AdamW, whose constructor takes only its own hyper-parameters.
        Optimizer.__init__(
            self, params, decay, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum=momentum,
            nesterov=nesterov, ns_steps=ns_steps, orthogonal=True,
        )  # fmt: skip

    @staticmethod
    def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """Return the matrices of the blocks, other matrices, and vectors, which do not decay."""
        return block_groups(model, weight_decay, "orthogonal")

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Check the hyper-parameters of a group.

        Raises:
            UserError: if one is out of range.
        """
        super().check_group(group)
        check_counts(group, "ns_steps")

    def check_parameter(self, p: Tensor, group: Mapping[str, Any]) -> None:
        """Check that a parameter can be orthogonalised, if its group says so.

        Raises:
            UserError: if it is not a matrix of real numbers.
        """
        if group["orthogonal"] and (p.dim() != 2 or p.is_complex()):
            kind = f"a {'complex ' if p.is_complex() else ''}parameter of shape {list(p.shape)}"
            raise UserError(f"Muon cannot take {kind}: give what is no real matrix in a group with orthogonal=False.")

    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what is kept of a parameter before its first step."""
        keys = ("momentum_buffer",) if group["orthogonal"] else AdamW.KEEPS
        return {key: torch.zeros_like(p) for key in keys}

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place."""
        if not group["orthogonal"]:
            return super().update(group, params, grads, states)
        lr, momentum = float(group["lr"]), float(group["momentum"])
        m = [state["momentum_buffer"] for state in states]
        torch._foreach_lerp_(m, grads, 1 - momentum)
        updates = torch._foreach_lerp(grads, m, momentum) if group["nesterov"] else m
        for shape in dict.fromkeys(p.shape for p in params):  # matrices of one shape together: fewer, larger products
            same = [i for i, p in enumerate(params) if p.shape == shape]
            directions = orthogonalised(torch.stack([updates[i] for i in same]), group["ns_steps"])
            for i, direction in zip(same, directions.to(params[same[0]].dtype), strict=True):
                self.decay.shrink_([params[i]], [direction], lr * self.strength(group))
                params[i].add_(direction, alpha=-lr * 0.2 * math.sqrt(max(shape)))
        return None


def orthogonalised(x: Float[Tensor, "*batch rows columns"], steps: int = 5) -> Float[Tensor, "*batch rows columns"]:
    """Return about U Vᵀ for a matrix with the singular value decomposition U S Vᵀ: its singular values become about 1.

    Five steps of a Newton-Schulz iteration: with X = x / ‖x‖, whose singular values are at most 1,

        X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X

    maps each singular value s to a s + b s³ + c s⁵ and leaves U and V. Only products of matrices are needed.
    (a, b, c) = (3.4445, -4.7750, 2.0315), by Jordan (2024), are not those of an exact iteration, which would need
    a = 15/8, b = -5/4, c = 3/8: a is as large as it can be, so that small values grow by 3.4 in each step, and the
    price is that values end between about 0.7 and 1.2 instead of at 1, which an update does not notice.

    Args:
        x: matrices, which are treated apart.
        steps: number of steps.
    """
    a, b, c = _COEFFICIENTS
    x = to_at_least_float32(x)
    wide = x.mT if x.shape[-2] > x.shape[-1] else x  # X Xᵀ is the smaller of the two products
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=_EPS)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide.mT if x.shape[-2] > x.shape[-1] else wide
