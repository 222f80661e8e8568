"""One training step: the loss, its gradient, clipping, and the optimizer's update."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmablate.data.tokens import Batch
from lmablate.errors import UserError
from lmablate.model import CrossEntropy, Transformer
from lmablate.training.optim import clip_grad_norm_, grad_norms


class NextTokenLoss(nn.Module):
    """The model and its loss as one module, so that DDP and torch.compile wrap both.

    Args:
        model: the model to train.
        loss: what is minimised; cross-entropy by default.
    """

    def __init__(self, model: Transformer, loss: CrossEntropy | None = None) -> None:
        super().__init__()
        self.model = model
        self.loss = loss or CrossEntropy()

    def forward(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Any:
        """Return the mean cross-entropy in nats per token; or, if something else is minimised, that and the mean."""
        return self.loss(self.model.hidden(tokens), self.model.output_weight, targets, self.model.logits.cap)


def both_losses(losses: Tensor | tuple[Tensor, Tensor]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return what a step minimises, and the cross-entropy, of what `NextTokenLoss` returned."""
    return (losses, losses) if isinstance(losses, Tensor) else losses


def train_step(
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    lr: float,
    grad_clip: float,
    autocast: AbstractContextManager | None = None,
    before_update: Callable[[Tensor, Tensor], None] = lambda loss, norms: None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Make one update of the parameters.

    Args:
        loss_of: maps a batch to its mean loss in nats per token; or to what is minimised, and to that loss.
        optimizer: over the parameters of `loss_of`.
        batch: tokens and targets, on the device.
        lr: learning rate of this step; a group of parameters with a factor `lr_scale` has that times it.
        grad_clip: largest joint 2-norm of the gradients.
        autocast: context of the forward pass: its precision, and what is dropped in it.
        before_update: called with the loss and the norm of each parameter's gradient, before they are clipped.

    Returns:
        The loss in nats per token, and the joint gradient norm before clipping; both stay on the device.
    """
    with autocast or nullcontext():
        minimised, loss = both_losses(loss_of(*batch))
    minimised.backward()
    norms = grad_norms(loss_of.parameters())
    before_update(loss.detach(), norms)
    grad_norm = clip_grad_norm_(loss_of.parameters(), grad_clip, norms)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach(), grad_norm


def mixed_precision(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context of the forward pass: torch.autocast for `train.precision=bf16`, nothing for fp32.

    Raises:
        UserError: for another precision.
    """
    contexts = {
        "fp32": nullcontext,
        "bf16": lambda: torch.autocast(device.type, dtype=torch.bfloat16),
    }
    if precision not in contexts:
        raise UserError(f"train.precision={precision!r} is not allowed: choose fp32 or bf16.")
    return contexts[precision]()


def check_compiler() -> None:
    """Check that torch.compile can work here: on every device it needs a C++ compiler.

    Raises:
        UserError: if there is none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # here: its import takes seconds

    try:
        get_cpp_compiler()
    except Exception as error:  # torch raises classes of its own here, and other ones in other versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"train.compile=true needs a C++ compiler ({reason}): install one, name it in CXX, or leave it out."
        ) from error
