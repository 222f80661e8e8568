"""Causal multi-head attention, written out, and three faster forms that are tested against it.

Read `attention` first: it is the definition. `causal_attention` picks the fastest form for the device.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmablate.errors import UserError
from lmablate.model.checks import check_floats, check_one_type
from lmablate.model.fast import FusedAttention, have_kernels
from lmablate.model.pos import NO_POSITIONS, ScoreChange, Scores
from lmablate.model.precision import to_at_least_float32

Bias = Callable[[Scores], Scores]
# In a model *heads is [batch, n_heads]. The values may have another width than queries and keys.
Queries = Float[Tensor, "*heads queries d_head"]
Keys = Float[Tensor, "*heads keys d_head"]
Values = Float[Tensor, "*heads keys d_value"]
Output = Float[Tensor, "*heads queries d_value"]


def softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """Return the softmax over a dimension, in at least float32; the maximum is subtracted, so exp does not overflow.

    Args:
        x: any floats.
        dim: the dimension whose sums become 1; negative ones are counted from the end.
    """
    check_floats("x", x)
    rank = max(1, x.dim())
    if not -rank <= dim < rank:
        raise UserError(f"dim={dim} is not allowed: x has {x.dim()} dimensions.")
    if not x.numel():
        return x  # has no maximum
    wide = to_at_least_float32(x)
    e = torch.exp(wide - wide.amax(dim, keepdim=True))
    return (e / e.sum(dim, keepdim=True)).type_as(x)


def _future(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "{queries} {keys}"]:
    """Return a mask, True where a key lies in a query's future; the queries have the last positions."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(keys - queries + 1)


@lru_cache(maxsize=64)
def _minus_infinity_in_future(
    queries: int, keys: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "{queries} {keys}"]:
    """Return what masks scores when it is added to them: -inf in a query's future, 0 elsewhere."""
    zeros = torch.zeros(queries, keys, dtype=dtype, device=device)
    return zeros.masked_fill_(_future(queries, keys, device), -math.inf)


def attention(
    q: Queries,
    k: Keys,
    v: Values,
    bias: Bias | None = None,
    mask: Shaped[Tensor, "..."] | None = None,
) -> Output:
    """Return softmax(mask(bias(q kᵀ / sqrt(d_head)))) v, arXiv 1706.03762, equation 1.

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: what the position scheme adds to the scores, `Position.bias`; None adds nothing.
        mask: True where a query reads a key, or numbers that are added to the scores; broadcast to [..., queries,
            keys]. A query that reads no key gets zeros. None is the causal mask: each query reads the keys up to its
            own position, and the queries have the last of the keys' positions.

    Raises:
        UserError: if the shapes or types do not fit each other.
    """
    _check_heads(q, k, v, causal=mask is None)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = _masked(scores if bias is None else bias(scores), mask)
    reads_nothing = scores.isneginf().all(-1, keepdim=True)  # whose softmax would be 0/0
    return softmax(scores.masked_fill(reads_nothing, 0)).masked_fill(reads_nothing, 0) @ v


def _masked(scores: Scores, mask: Tensor | None) -> Scores:
    """Return the scores with -inf where a query does not read a key; the mask is that of `attention`."""
    if mask is None:
        queries, keys = scores.shape[-2:]
        return scores.masked_fill(_future(queries, keys, scores.device), -math.inf)
    if not isinstance(mask, Tensor) or not (mask.dtype == torch.bool or mask.is_floating_point()):
        raise UserError("mask must be a tensor of True and False, or of floats to add to the scores.")
    try:
        mask = mask.expand(scores.shape)
    except RuntimeError:
        raise UserError(
            f"mask must fit the scores, which have the shape {list(scores.shape)}, but has {list(mask.shape)}."
        ) from None
    return scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.type_as(scores)


def _check_heads(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> None:
    """Check that queries, keys and values fit each other; if `causal`, also that each query has a key's position."""
    check_floats("q", q, "queries", "d_head")
    check_floats("k", k, *q.shape[:-2], "keys", q.shape[-1])
    check_floats("v", v, *k.shape[:-1], "d_value")
    if not q.dim() == k.dim() == v.dim():
        raise UserError(f"q, k and v must have equally many dimensions, but have {q.dim()}, {k.dim()} and {v.dim()}.")
    check_one_type("q, k and v", q, k, v)
    if not q.shape[-1]:
        raise UserError("q and k must have vectors of at least one number.")
    if causal and q.shape[-2] > k.shape[-2]:
        raise UserError(f"{q.shape[-2]} queries cannot have the last positions of {k.shape[-2]} keys.")


class BlockCausalAttention(torch.autograd.Function):
    """`attention` for as many queries as keys, in blocks of queries; a block reads only the keys up to its own end.

    Almost half of the scores are never computed if there are many blocks (3/8 of them with four), and only the diagonal
    block needs a mask. The probabilities P are kept for the backward pass, which is that of the softmax:
    dS = P ∘ (dP - rowsum(dP ∘ P)), and rowsum(dP ∘ P) is rowsum(dO ∘ O), a shorter sum (arXiv 2205.14135, equation 4).
    """

    BLOCK = 64  # queries per block

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
        """Return what `attention` returns, and keep what the backward pass needs."""
        ctx.shapes, time, scale = (q.shape, k.shape, v.shape), q.shape[-2], 1 / math.sqrt(q.shape[-1])
        batch, heads = q.shape[:-2], (*[1] * (q.dim() - 3), *q.shape[-3:-2])
        # Batch and heads become one dimension: torch's batched matrix product takes three dimensions.
        q, k, v = (x.reshape(math.prod(batch), *x.shape[-2:]) for x in (q * scale, k, v))
        out, probabilities = torch.empty_like(v), []
        for start in range(0, time, BlockCausalAttention.BLOCK):
            end = min(start + BlockCausalAttention.BLOCK, time)
            mask = _minus_infinity_in_future(end - start, end, q.dtype, q.device)
            added = bias(mask.expand(*heads, -1, -1)).expand(*batch, -1, -1).reshape(len(q), end - start, end)
            p = torch.softmax(torch.baddbmm(added, q[:, start:end], k[:, :end].mT), -1)
            out[:, start:end] = torch.bmm(p, v[:, :end])
            probabilities.append(p)
        ctx.save_for_backward(q, k, v, out, *probabilities)
        ctx.scale = scale
        return out.view(ctx.shapes[2])

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients; ours has one output.
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of q, k and v; `bias` has none."""
        q, k, v, out, *probabilities = ctx.saved_tensors
        d_out, end = d_out.reshape(v.shape), 0
        row_sums = (d_out * out).sum(-1, keepdim=True)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for p in probabilities:
            start, end = end, end + p.shape[1]
            d_block = d_out[:, start:end]
            dv[:, :end] += torch.bmm(p.mT, d_block)  # baddbmm_ into a slice would run matrix by matrix
            ds = torch.baddbmm(row_sums[:, start:end], d_block, v[:, :end].mT, beta=-1).mul_(p)
            dq[:, start:end] = torch.bmm(ds, k[:, :end])
            dk[:, :end] += torch.bmm(ds.mT, q[:, start:end])
        dq, dk, dv = (x.view(shape) for x, shape in zip((dq.mul_(ctx.scale), dk, dv), ctx.shapes, strict=True))
        return dq, dk, dv, None


def fused_causal_attention(q: Queries, k: Keys, v: Values, pos: ScoreChange = NO_POSITIONS) -> Output:
    """Return what `attention` returns, by torch's kernels, which never store the scores on a GPU (arXiv 2205.14135)."""
    queries, keys = q.shape[-2], k.shape[-2]
    if queries == keys and not pos.biases:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    heads = [1] * (q.dim() - 3) + [*q.shape[-3:-2]]
    mask = pos.bias(q.new_zeros(*heads, queries, keys)).masked_fill(_future(queries, keys, q.device), -math.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def causal_attention(q: Queries, k: Keys, v: Values, pos: ScoreChange = NO_POSITIONS) -> Output:
    """Return what `attention` returns, by the fastest form: our kernel or blocks on a CPU, else torch's kernels.

    All of them give the position scheme's bias no gradient, so a bias that needs one takes `attention` itself.
    """
    _check_heads(q, k, v, causal=True)
    if pos.biases and not pos.bias_is_constant:
        return attention(q, k, v, pos.bias)
    if q.device.type != "cpu":
        return fused_causal_attention(q, k, v, pos)
    if q.shape[-2] == k.shape[-2]:
        if not pos.biases and q.dim() == 4 and q.shape == v.shape and have_kernels(q, k, v, whole=q.shape[-1]):
            return FusedAttention.apply(q, k, v)
        return BlockCausalAttention.apply(q, k, v, pos.bias)
    return attention(q, k, v, pos.bias)
