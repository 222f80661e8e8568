"""What a probe is, and what it may look at."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lmablate.errors import UserError
from lmablate.model import Transformer


@dataclass(frozen=True)
class ProbeContext:
    """What a probe may look at: the model and its batch, at a training step or at an evaluation.

    Attributes:
        model: the model itself, not a copy.
        step: number of updates so far.
        max_steps: number of updates of the whole training.
        tokens: inputs of this training step's batch, or of the first evaluation batch, [batch, time].
        targets: the tokens to predict, [batch, time].
        parameter_norms: by parameter name, the gradient's 2-norm before clipping; empty at an evaluation.
        grad_norm: 2-norm of all gradients together, before clipping; None at an evaluation.
        clip_scale: the factor that clipping multiplies the gradients by, 1 if they are not clipped; None at an
            evaluation.
        valid: tokens of the validation text, [n_tokens]; None at a training step.
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
        """True after the last update."""
        return self.step == self.max_steps


class Probe:
    """Base of the probes: it measures nothing unless a subclass overrides one of the two hooks.

    Both hooks return scalars by metric name. A scalar on the device stays a tensor, which saves a transfer. A probe
    must not change parameters, gradients or random state.

    A probe may say how figures show its metrics; one that does not is drawn under its metric's own name:

        METRICS = {"embedding/rms": ("size of the embeddings", ""), "entropy/head_{i}": ("entropy", "nats")}

    Attributes:
        METRICS: (name, unit) by metric; {i} stands for the number at the end of a metric that is measured per layer,
            head, ... A pure number has the unit "".
    """

    METRICS: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def at_step(self, context: ProbeContext) -> Mapping[str, Tensor | float]:
        """Return metrics of a training step.

        It is called at every logged step, after the backward pass and before clipping, and must be cheap.

        Args:
            context: the step, with its batch and the norms of its gradient.
        """
        return {}

    def at_evaluation(self, context: ProbeContext) -> Mapping[str, Tensor | float]:
        """Return metrics of an evaluation.

        It is called at every evaluation, including step 0 and the end. Gradients are switched off; a probe that needs
        them switches them on.

        Args:
            context: the evaluation, with its first batch and the validation text.
        """
        return {}


def declared_metrics(probes: Iterable[Probe]) -> dict[str, list[str]]:
    """Return name and unit of each metric that a probe declares in `METRICS`.

    Raises:
        UserError: if a declaration is not a name and a unit, or if two probes declare a metric differently.
    """
    declared: dict[str, list[str]] = {}
    for probe in probes:
        where = f"{type(probe).__name__}.METRICS"
        if not isinstance(probe.METRICS, Mapping):
            raise UserError(f"{where} must be a dictionary of (name, unit) by metric, not {probe.METRICS!r:.80}.")
        for metric, words in probe.METRICS.items():
            is_pair = isinstance(words, tuple | list) and len(words) == 2
            if not (is_pair and isinstance(metric, str) and all(isinstance(word, str) for word in words)):
                raise UserError(f"{where}: {metric!r:.80} must have a name and a unit, two texts, not {words!r:.80}.")
            if declared.setdefault(metric, [*words]) != [*words]:
                raise UserError(f"{where}: {metric} has the name and unit {declared[metric]} in another probe.")
    return declared


def probe_step(probes: Iterable[Probe], context: ProbeContext) -> dict[str, Tensor | float]:
    """Return the metrics of all `probes` at a training step."""
    return {name: value for probe in probes for name, value in probe.at_step(context).items()}


def probe_evaluation(probes: Iterable[Probe], context: ProbeContext) -> dict[str, Tensor | float]:
    """Return the metrics of all `probes` at an evaluation."""
    return {name: value for probe in probes for name, value in probe.at_evaluation(context).items()}


@contextmanager
def hooks_attached(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep the hooks of `handles` attached during the block, and remove them at its end, even if it raises."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield


def logits_by_row(model: Transformer, tokens: Int[Tensor, "batch time"]) -> Iterator[Float[Tensor, "time vocab_size"]]:
    """Yield the logits of one row after another: those of the whole batch may not fit into memory."""
    for hidden in model.hidden(tokens):
        yield model.logits_of(hidden)
