"""What a probe is, and what it may look at."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lmablate.model import Transformer


@dataclass(frozen=True)
class Moment:
    """What the trainer shows to a probe.

    Attributes:
        step: updates done so far; max_steps: updates in all.
        tokens, targets: the training batch of this step, or the first evaluation batch.
        parameter_norms: by parameter name, the gradient's 2-norm before clipping; empty at an evaluation.
        grad_norm: of all gradients together, before clipping; None at an evaluation.
        grad_clip: the largest norm that clipping lets through.
        valid: the tokens of the validation text; None at a training step.
    """

    model: Transformer
    step: int
    max_steps: int
    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    parameter_norms: Mapping[str, Float[Tensor, ""]]
    grad_norm: Float[Tensor, ""] | None
    grad_clip: float
    valid: np.ndarray | None = None

    @property
    def is_last(self) -> bool:
        return self.step == self.max_steps


class Probe:
    """Measures nothing unless a subclass overrides one of the two hooks.

    Both return scalars by metric name, as tensors where that spares a transfer. A probe must not change
    parameters, gradients or random state.
    """

    def at_step(self, moment: Moment) -> Mapping[str, Tensor | float]:
        """Called at every logged step, after the backward pass and before clipping: must be cheap."""
        return {}

    def at_evaluation(self, moment: Moment) -> Mapping[str, Tensor | float]:
        """Called at every evaluation, step 0 and the end included; gradients are off unless asked for."""
        return {}


def measure(probes: Iterable[Probe], hook: str, moment: Moment) -> dict[str, Tensor | float]:
    """What all `probes` say at `hook` ("at_step" or "at_evaluation"), in one dict."""
    return {name: value for probe in probes for name, value in getattr(probe, hook)(moment).items()}


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Within, the hooks behind `handles` are in place; after it they are gone, whatever happened."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield


def logits_by_row(model: Transformer, tokens: Int[Tensor, "batch time"]) -> Iterator[Float[Tensor, "time vocab_size"]]:
    """The logits of one row after the other: those of a whole batch may not fit into memory."""
    for hidden in model.hidden(tokens):
        yield hidden @ model.head.weight.mT
