"""The loss by position, inside the training context and beyond it."""

import torch
from jaxtyping import Float
from torch import Tensor

from lmablate.data.tokens import EvalBatches
from lmablate.diagnostics.probe import Probe, ProbeContext, logits_by_row
from lmablate.errors import UserError
from lmablate.model import cross_entropy


class PositionLoss(Probe):
    """The loss by position at the end of training, on fixed windows of the validation text, in nats per token.

    Metrics:
        position_loss/bin_{0..7}: mean loss in each eighth of the training context.
        position_loss/1x, 2x, 4x: mean loss in the last quarter of a window of 1, 2 or 4 training contexts
            (arXiv 2108.12409, section 2). Absent if the position scheme or the text does not reach that far.

    Args:
        batches: at every length, the windows together hold as many tokens as this number of evaluation batches.
    """

    LENGTHS, BINS = (1, 2, 4), 8

    def __init__(self, batches: int = 16) -> None:
        self.batches = batches

    def at_evaluation(self, context: ProbeContext) -> dict[str, Tensor | float]:
        """Return the losses by position, if training has ended."""
        if not context.is_last:
            return {}
        by_length = {n: losses for n in self.LENGTHS if (losses := self._mean_losses(context, n)) is not None}
        bins = by_length[1].tensor_split(self.BINS) if 1 in by_length else ()
        return {
            **{f"position_loss/bin_{i}": part.mean() for i, part in enumerate(bins) if len(part)},
            **{f"position_loss/{n}x": losses[3 * len(losses) // 4 :].mean() for n, losses in by_length.items()},
        }

    def _mean_losses(self, context: ProbeContext, contexts: int) -> Float[Tensor, " time"] | None:
        """Return the mean loss at each position of a window of `contexts` training contexts; None if it is too long."""
        assert context.valid is not None, "an evaluation has the validation text"
        model, (rows, _) = context.model, context.tokens.shape
        rows_per_batch = max(1, rows // contexts)
        # Rounded up, so that longer windows hold at least as many tokens.
        n_batches = -(-rows * self.batches // (contexts * rows_per_batch))
        losses = []
        try:
            batches = EvalBatches(context.valid, contexts * model.context_length, rows_per_batch, n_batches)
            for tokens, targets in batches:
                tokens, targets = tokens.to(context.tokens.device), targets.to(context.tokens.device)
                logits = logits_by_row(model, tokens)
                losses += [cross_entropy(*row) for row in zip(logits, targets, strict=True)]
        except UserError:  # the text is shorter than a window, or the position scheme ends before
            return None
        return torch.stack(losses).mean(0)
