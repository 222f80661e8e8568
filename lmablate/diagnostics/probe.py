"""What a probe is, and what it may look at."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lmablate.model import Transformer


@dataclass(frozen=True)
class ProbeContext:
    """What the trainer shows to a probe.

    Attributes:
        model: the model, in place.
        step: updates done so far.
        max_steps: updates in all.
        tokens: inputs of the training batch of this step, or of the first evaluation batch.
        targets: its targets.
        parameter_norms: by parameter name, the gradient's 2-norm before clipping; empty at an evaluation.
        grad_norm: of all gradients together, before clipping; None at an evaluation.
        clip_scale: the factor that clipping multiplies the gradients by, 1 if they are not clipped; None at an
            evaluation.
        valid: the tokens of the validation text, [n_tokens]; None at a training step.
    """

    model: Transformer
    step: int
    max_steps: int
    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    parameter_norms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    grad_norm: Float[Tensor, ""] | None = None
    clip_scale: Float[Tensor, ""] | None = None
    valid: np.ndarray | None = None

    @property
    def is_last(self) -> bool:
        return self.step == self.max_steps


class Probe:
    """Measures nothing unless a subclass overrides one of the two hooks.

    Both return scalars by metric name, as tensors where that spares a transfer. A probe must not change
    parameters, gradients or random state.
    """

    def at_step(self, context: ProbeContext) -> Mapping[str, Tensor | float]:
        """Called at every logged step, after the backward pass and before clipping: must be cheap."""
        return {}

    def at_evaluation(self, context: ProbeContext) -> Mapping[str, Tensor | float]:
        """Called at every evaluation, step 0 and the end included; gradients are off unless asked for."""
        return {}


def probe_step(probes: Iterable[Probe], context: ProbeContext) -> dict[str, Tensor | float]:
    """Return what all `probes` measure at a training step."""
    return {name: value for probe in probes for name, value in probe.at_step(context).items()}


def probe_evaluation(probes: Iterable[Probe], context: ProbeContext) -> dict[str, Tensor | float]:
    """Return what all `probes` measure at an evaluation."""
    return {name: value for probe in probes for name, value in probe.at_evaluation(context).items()}


@contextmanager
def hooks_attached(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep the hooks behind `handles` attached during the block; they are removed even if it raises."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield


def logits_by_row(model: Transformer, tokens: Int[Tensor, "batch time"]) -> Iterator[Float[Tensor, "time vocab_size"]]:
    """The logits of one row after the other: those of a whole batch may not fit into memory."""
    for hidden in model.hidden(tokens):
        yield hidden @ model.output_weight.mT
