"""A small model, and an evaluation of it as a probe sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from lmablate.diagnostics import Probe, ProbeContext
from lmablate.model import Init, PreNorm, ReLU, RoPE, TiedHead, Transformer

CONF = Path(__file__).parents[2] / "conf" / "diagnostics"
VOCAB, CONTEXT, ROWS = 61, 16, 4


class Wide(Init):
    """Standard deviation 0.5: every layer matters to the loss, and differences are larger than rounding errors."""

    def std(self, name: str, weight: Tensor, n_layers: int) -> float:
        return 0.5


def make_model(**parts: Any) -> Transformer:
    chosen = {"norm": PreNorm, "pos": RoPE, "act": ReLU, "tying": TiedHead, "init": Wide(), **parts}
    sizes = {"d_model": 16, "n_layers": 3, "n_heads": 2, "d_ff": 24, "context_length": CONTEXT}
    return Transformer(vocab_size=VOCAB, **sizes, **chosen)


def tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB, count).astype(np.uint16)


def make_context(model: Transformer, step: int = 0, valid: np.ndarray | None = None) -> ProbeContext:
    """Return the context of an evaluation after `step` of 10 updates."""
    valid = tokens(3000) if valid is None else valid
    rows = torch.from_numpy(valid[: ROWS * (CONTEXT + 1)].reshape(ROWS, CONTEXT + 1).astype(np.int64))
    return ProbeContext(model, step, max_steps=10, tokens=rows[:, :-1], targets=rows[:, 1:], valid=valid)


@torch.no_grad()
def evaluated(probe: Probe, context: ProbeContext) -> dict[str, float]:
    """Return the metrics of `probe` at an evaluation, as numbers."""
    return {name: float(value) for name, value in probe.at_evaluation(context).items()}


def mean_loss(model: Transformer, context: ProbeContext) -> Tensor:
    """Return the mean loss by torch's own cross-entropy, over all logits at once."""
    return nn.functional.cross_entropy(model(context.tokens).flatten(0, 1), context.targets.flatten())


def level(name: str) -> list[Probe]:
    """Return the probes of conf/diagnostics/`name`.yaml."""
    return [instantiate(node) for node in OmegaConf.load(CONF / f"{name}.yaml").probes]
