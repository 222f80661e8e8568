"""SOAP: Adam in the eigenbasis of Shampoo."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.training.optim.adamw import AdamW
from lmablate.training.optim.base import DECOUPLED, Optimizer, block_groups, check_counts
from lmablate.training.optim.decay import Decoupled

# What is kept of a side: the mean of G Gᵀ or Gᵀ G, and its eigenvectors.
_SIDES = {"left": "left_basis", "right": "right_basis"}


class SOAP(AdamW):
    """Adam, run in the eigenbasis of Shampoo's statistics of a matrix, arXiv 2409.11321, algorithm 3.

    With Q_L, Q_R the eigenvectors of L, R, and a prime for what is turned into their basis, X' = Q_Lᵀ X Q_R:

        m ← β₁ m + (1 - β₁) g              v ← β₂ v + (1 - β₂) g'²
        u' = m̂' / (sqrt(v̂) + ε),           m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)
        θ ← θ - lr (Q_L u' Q_Rᵀ + λ θ)
        L ← β₂ L + (1 - β₂) g gᵀ           R ← β₂ R + (1 - β₂) gᵀ g
        every `precondition_every` steps:  Q_L ← QR(L Q_L),  Q_R ← QR(R Q_R)

    QR is the orthogonal factor of a QR decomposition: a step of power iteration (algorithm 4 of the paper), which costs
    much less than new eigenvectors. The first gradient of a matrix only begins L and R and their eigenvectors, and t
    counts from the second one. A side longer than `max_size` stays in its own basis, Q = 1, and so does the longer side
    of a matrix in a group with `two_sided=False`, as in the paper's one-sided variant. In a model that holds outside
    the linear layers of the blocks: most tokens of the vocabulary do not occur in a batch, and a basis would mix them
    with the others. Vectors are updated by `AdamW`, which is SOAP with Q = 1.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        lr: learning rate.
        betas: decay rates β₁, β₂, in [0, 1).
        eps: ε.
        weight_decay: λ.
        decay: how much a parameter decays in a step; by default as above.
        precondition_every: steps between two changes of the basis.
        max_size: the longest side of a matrix that gets a basis.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group, or for a matrix that is neither float32 nor
            float64.
    """

    KEEPS: ClassVar[tuple[str, ...]] = (*AdamW.KEEPS, *_SIDES, *_SIDES.values())

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 3e-3,
        betas: Sequence[float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        decay: Decoupled = DECOUPLED,
        precondition_every: int = 10,
        max_size: int = 2048,
    ) -> None:
        # Not through AdamW, whose constructor takes only its own hyper-parameters.
        Optimizer.__init__(
            self, params, decay, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            precondition_every=precondition_every, max_size=max_size, two_sided=True,
        )  # fmt: skip

    @staticmethod
    def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """Return the matrices of the blocks, other matrices, and vectors, which do not decay."""
        return block_groups(model, weight_decay, "two_sided")

    @property
    def period(self) -> int:
        """Steps after which the work of a step repeats: those between two changes of the basis."""
        return self.defaults["precondition_every"]

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Check the hyper-parameters of a group.

        Raises:
            UserError: if one is out of range.
        """
        super().check_group(group)
        check_counts(group, "precondition_every", "max_size")

    def check_parameter(self, p: Tensor, group: Mapping[str, Any]) -> None:
        """Check that a matrix has a precision in which eigenvectors can be computed.

        Raises:
            UserError: if it has not.
        """
        if p.dim() == 2 and p.dtype not in (torch.float32, torch.float64):
            raise UserError(f"SOAP takes matrices of float32 or float64, but one of {list(p.shape)} is {p.dtype}.")

    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what is kept of a parameter before its first step: a basis for each side that gets one."""
        state = {key: torch.zeros_like(p) for key in AdamW.KEEPS}
        for size, (side, basis) in zip(p.shape if p.dim() == 2 else (), _SIDES.items(), strict=False):
            longest = group["max_size"] if group["two_sided"] else min(group["max_size"], *p.shape)
            if size <= longest:
                state |= {side: p.new_zeros(size, size), basis: torch.eye(size, dtype=p.dtype, device=p.device)}
        return state

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place; a matrix with its first gradient is not changed."""
        is_turned = [any(side in state for side in _SIDES) for state in states]
        plain = [i for i, turned in enumerate(is_turned) if not turned]
        if plain:
            super().update(group, [params[i] for i in plain], [grads[i] for i in plain], [states[i] for i in plain])
        for p, grad, state, turned in zip(params, grads, states, is_turned, strict=True):
            if turned:
                self._update_matrix(group, p, grad, state)

    def _update_matrix(self, group: dict[str, Any], p: Tensor, grad: Tensor, state: dict[str, Any]) -> None:
        lr, eps, (beta1, beta2) = float(group["lr"]), float(group["eps"]), map(float, group["betas"])
        t = state["step"] - 1
        if t > 0:
            m, v, turned = state["exp_avg"], state["exp_avg_sq"], _turned(grad, state)
            m.lerp_(grad, 1 - beta1)
            v.mul_(beta2).addcmul_(turned, turned, value=1 - beta2)
            denominator = (v / (1 - beta2**t)).sqrt_().add_(eps)
            update = _turned_back(_turned(m, state).div_(denominator).div_(1 - beta1**t), state)
            self.decay.shrink_([p], [update], lr * self.strength(group))
            p.add_(update, alpha=-lr)
        for (side, basis), products in zip(_SIDES.items(), (grad, grad.mT), strict=True):
            if side not in state:
                continue
            state[side].lerp_(products @ products.mT, 1 - beta2)
            # Contiguous, as a checkpoint gives it back: the bits of products depend on the order in memory. The largest
            # eigenvalue comes first, because power iteration with QR moves its vector into the first column.
            if t == 0:
                state[basis] = torch.linalg.eigh(state[side]).eigenvectors.flip(1).contiguous()
            elif t % group["precondition_every"] == 0:
                state[basis] = torch.linalg.qr(state[side] @ state[basis]).Q.contiguous()


def _turned(x: Tensor, state: Mapping[str, Any]) -> Tensor:
    """Return Q_Lᵀ x Q_R, a new tensor."""
    x = state["left_basis"].mT @ x if "left_basis" in state else x
    return x @ state["right_basis"] if "right_basis" in state else x


def _turned_back(x: Tensor, state: Mapping[str, Any]) -> Tensor:
    """Return Q_L x Q_Rᵀ, a new tensor."""
    x = state["left_basis"] @ x if "left_basis" in state else x
    return x @ state["right_basis"].mT if "right_basis" in state else x
