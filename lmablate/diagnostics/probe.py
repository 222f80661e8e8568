"""What a probe is, and what it may look at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from lmablate.model import Transformer


@dataclass(frozen=True)
class Moment:
    """What the trainer shows to a probe.

    Attributes:
        step: updates done so far; max_steps: updates in all.
        tokens, targets: the training batch of this step, or the first evaluation batch.
        parameter_norms: by parameter name, the 2-norm of the gradient before clipping; empty at an evaluation.
        grad_norm: of all gradients together, before clipping; None at an evaluation.
        grad_clip: the largest norm that clipping lets through.
    """

    model: Transformer
    step: int
    max_steps: int
    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    parameter_norms: Mapping[str, Float[Tensor, ""]]
    grad_norm: Float[Tensor, ""] | None
    grad_clip: float


class Probe:
    """Measures nothing unless a subclass overrides one of the two hooks.

    Both return scalars by metric name, as tensors where that spares a transfer. A probe must not change
    parameters, gradients or random state.
    """

    def at_step(self, moment: Moment) -> Mapping[str, Tensor | float]:
        """Called at every logged training step, after the backward pass and before clipping: must be cheap."""
        return {}

    def at_evaluation(self, moment: Moment) -> Mapping[str, Tensor | float]:
        """Called at every evaluation, at step 0 and at the end among them; gradients are off unless asked for."""
        return {}


def measure(probes: Iterable[Probe], hook: str, moment: Moment) -> dict[str, Tensor | float]:
    """What all `probes` say at `hook` ("at_step" or "at_evaluation"), in one dict."""
    return {name: value for probe in probes for name, value in getattr(probe, hook)(moment).items()}
