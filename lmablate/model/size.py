"""Size and cost of the decoder-only Transformer in closed form, and the d_ff that makes two arms equal.

An ablation that changes a part of the model often changes its size too: SwiGLU has three matrices where
ReLU has two, an untied head adds V·d weights. `solve_d_ff` gives that difference back through the width of
the MLP.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

from torch import nn

from lmablate.errors import UserError


@dataclass(frozen=True)
class Shape:
    """All that decides how many parameters a model has and what a training token costs.

    mlp_matrices: 2 (ReLU, GELU, SiLU, ReLU²) or 3 (SwiGLU, GEGLU). norm_params: weights of one norm,
    d_model for RMSNorm, 2·d_model for LayerNorm with its bias. final_norm: True for pre-norm, which
    normalises once more before the head. No linear map has a bias.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    context_length: int
    mlp_matrices: int
    tied: bool
    learned_positions: bool
    norm_params: int
    final_norm: bool

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < (0 if field.name == "norm_params" else 1):
                raise UserError(f"{field.name}={value} is not allowed: it must be a positive integer.")
        if self.mlp_matrices not in (2, 3):
            raise UserError(f"mlp_matrices={self.mlp_matrices} is not allowed: it must be 2 or 3.")
        if self.d_model % self.n_heads:
            raise UserError(f"n_heads={self.n_heads} does not divide d_model={self.d_model}.")

    def parameters(self) -> int:
        """Trainable weights; a tied matrix counts once."""
        embeddings = self.vocab_size * self.d_model * (1 if self.tied else 2)
        positions = self.context_length * self.d_model * self.learned_positions
        return embeddings + positions + self.non_embedding_parameters()

    def non_embedding_parameters(self) -> int:
        """Weights of the blocks and norms: neither token nor position embedding, nor the head."""
        norms = (2 * self.n_layers + self.final_norm) * self.norm_params
        return self.n_layers * self._block_matrices() + norms

    def flops_per_token(self) -> int:
        """FLOPs of one training token (forward and backward) at full context length T.

        Forward: 2 per weight of every matrix product, the head's included and the embedding look-up not, plus
        2·2·T·d a layer for scores and values. These count all T × T scores, though causal masking discards
        half of them, because that is what a plain masked attention computes and what
        `torch.utils.flop_counter` counts. Backward: twice the forward, one product for the inputs' gradient
        and one for the weights'.
        """
        weights = self.n_layers * self._block_matrices() + self.vocab_size * self.d_model
        attention = self.n_layers * 2 * 2 * self.context_length * self.d_model
        return 3 * (2 * weights + attention)

    def _block_matrices(self) -> int:
        return 4 * self.d_model**2 + self.mlp_matrices * self.d_model * self.d_ff


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def reference_shape(shape: Shape) -> Shape:
    """The default target of matching: the same d_ff with two matrices, tied, no learned positions."""
    return replace(shape, mlp_matrices=2, tied=True, learned_positions=False)


MEASURES = {"params": Shape.parameters, "flops": Shape.flops_per_token}


def solve_d_ff(
    shape: Shape,
    target: int,
    by: Literal["params", "flops"] = "params",
    multiple_of: int = 8,
    tolerance: float = 0.01,
) -> int:
    """The multiple of `multiple_of` that, as d_ff, brings `shape` nearest to `target`.

    target: parameters, or training FLOPs per token, as `by` says.
    Raises UserError where even the nearest misses the target by more than `tolerance` (a fraction of the
    target).
    """
    if by not in MEASURES:
        raise UserError(f"match={by} is not allowed: it must be one of {', '.join(MEASURES)}.")
    if multiple_of < 1:
        raise UserError(f"multiple_of={multiple_of} is not allowed: it must be a positive integer.")

    def size(d_ff: int) -> int:
        return MEASURES[by](replace(shape, d_ff=d_ff))

    # Both measures are affine in d_ff, so two points give the line.
    per_step = size(2 * multiple_of) - size(multiple_of)
    steps = 1 + round((target - size(multiple_of)) / per_step)
    d_ff = multiple_of * max(1, steps)
    miss = abs(size(d_ff) - target) / target
    if miss > tolerance:
        raise UserError(
            f"match={by} cannot reach {target:,} within {tolerance:.1%}: the nearest is d_ff={d_ff} "
            f"with {size(d_ff):,}, which misses by {miss:.1%}."
        )
    return d_ff


@dataclass(frozen=True)
class Unmatched:
    """`match=none`: d_ff is what the config says."""

    def d_ff(self, shape: Shape) -> int:
        return shape.d_ff


@dataclass(frozen=True)
class Matched:
    """`match=params|flops`: the d_ff that makes an arm as large, or as costly, as its `reference_shape`."""

    by: Literal["params", "flops"]
    multiple_of: int = 8
    tolerance: float = 0.01

    def d_ff(self, shape: Shape) -> int:
        target = MEASURES[self.by](reference_shape(shape))
        return solve_d_ff(shape, target, self.by, self.multiple_of, self.tolerance)
