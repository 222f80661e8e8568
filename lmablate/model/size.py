"""Size and cost of the Transformer in closed form, and the d_ff that makes two arms equal in one of them.

An ablation that changes a part of the model often changes its size too: SwiGLU has three matrices where ReLU has two,
and an untied head adds V·d weights. `solve_d_ff` makes up for that difference by the width of the MLP.
"""

from dataclasses import dataclass, fields, replace

from torch import nn

from lmablate.errors import UserError
from lmablate.model.checks import check_sizes


@dataclass(frozen=True)
class Shape:
    """Everything that determines how many parameters a model has and how many FLOPs a training token costs.

    Attributes:
        vocab_size: number of tokens in the vocabulary.
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads per block.
        d_ff: width of the MLP.
        context_length: tokens of a training sequence.
        mlp_matrices: 2 (ReLU, GELU, SiLU, ReLU²) or 3 (SwiGLU, GEGLU).
        tied: True if the embedding's matrix is the output matrix too.
        learned_positions: True if each position has a trained vector.
        norm_params: parameters of one norm: d_model for RMSNorm, 2·d_model for LayerNorm with its bias.
        final_norm: True for pre-norm, which normalises once more before the head.
        mlp_vectors: vectors of d_ff in each MLP, its biases.
        other_params: parameters that none of the above accounts for, in the whole model; negative if there are fewer.
        other_weights: weights of matrix products in the blocks that none of the above accounts for, in the whole model;
            negative if there are fewer, as with grouped queries.

    Raises:
        UserError: if a size is not allowed.
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
    mlp_vectors: int = 0
    other_params: int = 0
    other_weights: int = 0

    def __post_init__(self) -> None:
        allowed = {("norm_params", 0), ("mlp_vectors", 0)}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is bool and not isinstance(value, bool):
                raise UserError(f"{field.name}={value!r} is not allowed: it must be True or False.")
            if field.type is int and not field.name.startswith("other") and (field.name, value) not in allowed:
                check_sizes({field.name: value})
        if self.mlp_matrices not in (2, 3):
            raise UserError(f"mlp_matrices={self.mlp_matrices} is not allowed: it must be 2 or 3.")
        if self.d_model % self.n_heads:
            raise UserError(f"n_heads={self.n_heads} does not divide d_model={self.d_model}.")

    def parameters(self) -> int:
        """Return the number of parameters; a tied matrix counts once."""
        embeddings = self.vocab_size * self.d_model * (1 if self.tied else 2)
        positions = self.context_length * self.d_model * self.learned_positions
        return embeddings + positions + self.non_embedding_parameters() + self.other_params

    def non_embedding_parameters(self) -> int:
        """Return the number of parameters of the blocks and norms, without token embedding, positions and head."""
        norms = (2 * self.n_layers + self.final_norm) * self.norm_params
        return self.n_layers * (self.block_matrices() + self.mlp_vectors * self.d_ff) + norms

    def flops_per_token(self) -> int:
        """Return the FLOPs of one training token (forward and backward) at full context length T.

        Forward: 2 per weight of every matrix product, including the head but not the embedding look-up, plus 2·2·T·d
        per layer for scores and values. These count all T × T scores, though causal masking discards half of them,
        because a plain masked attention computes them all and `torch.utils.flop_counter` counts them all. Backward:
        twice the forward, one product for the gradient of the inputs and one for that of the weights.
        """
        weights = self.n_layers * self.block_matrices() + self.other_weights + self.vocab_size * self.d_model
        attention = self.n_layers * 2 * 2 * self.context_length * self.d_model
        return 3 * (2 * weights + attention)

    def block_matrices(self) -> int:
        """Return the weights of a block's matrices: four of attention, and those of the MLP."""
        return 4 * self.d_model**2 + self.mlp_matrices * self.d_model * self.d_ff


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def reference_shape(shape: Shape) -> Shape:
    """Return what an arm is matched to by default: its own shape with two MLP matrices, tied, no learned positions."""
    return replace(
        shape, mlp_matrices=2, tied=True, learned_positions=False, mlp_vectors=0, other_params=0, other_weights=0
    )


# What `match` can make equal between two arms.
MEASURES = {"params": Shape.parameters, "flops": Shape.flops_per_token}


def solve_d_ff(
    shape: Shape,
    target: int,
    by: str = "params",
    multiple_of: int = 8,
    tolerance: float = 0.01,
) -> int:
    """Return the d_ff that brings `shape` nearest to `target`.

    Args:
        shape: the arm's shape; its own d_ff does not matter.
        target: number of parameters, or training FLOPs per token, depending on `by`.
        by: what to make equal, a key of `MEASURES`.
        multiple_of: d_ff is a multiple of this.
        tolerance: how far the result may miss the target, as a fraction of the target.

    Raises:
        UserError: if even the nearest d_ff misses the target by more than `tolerance`, or if an argument is not
            allowed.
    """
    _check_match(by, multiple_of)
    check_sizes({"target": target})

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


def _check_match(by: str, multiple_of: int) -> None:
    if by not in MEASURES:
        raise UserError(f"match={by} is not allowed: it must be one of {', '.join(MEASURES)}.")
    check_sizes({"multiple_of": multiple_of})


@dataclass(frozen=True)
class Unmatched:
    """The choice `match=none`: d_ff stays as configured."""

    def d_ff(self, shape: Shape) -> int:
        """Return the shape's own d_ff."""
        return shape.d_ff


@dataclass(frozen=True)
class Proportional:
    """The choice `match=width`: d_ff is a multiple of d_model, so that both grow together.

    Attributes:
        ratio: d_ff over d_model.

    Raises:
        UserError: if `ratio` is not allowed.
    """

    ratio: int = 4

    def __post_init__(self) -> None:
        check_sizes({"match.ratio": self.ratio})

    def d_ff(self, shape: Shape) -> int:
        """Return `ratio` times the shape's d_model."""
        return self.ratio * shape.d_model


@dataclass(frozen=True)
class Matched:
    """The choice `match=params|flops`: the d_ff that makes an arm as large, or as costly, as its `reference_shape`.

    Attributes:
        by: what to make equal, a key of `MEASURES`.
        multiple_of: d_ff is a multiple of this.
        tolerance: how far the result may miss, as a fraction of the reference's size or cost.

    Raises:
        UserError: if `by` or `multiple_of` is not allowed.
    """

    by: str
    multiple_of: int = 8
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        _check_match(self.by, self.multiple_of)

    def d_ff(self, shape: Shape) -> int:
        """Return the d_ff for an arm of this shape.

        Raises:
            UserError: if no d_ff comes within the tolerance.
        """
        target = MEASURES[self.by](reference_shape(shape))
        return solve_d_ff(shape, target, self.by, self.multiple_of, self.tolerance)
