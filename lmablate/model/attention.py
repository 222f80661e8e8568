"""Causal multi-head attention, written out, and three faster forms that are tested against it.

Read `attention` first: it is the definition. `causal_attention` picks the fastest form for the device.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmablate.errors import UserError
from lmablate.model.fast import FusedAttention, have_kernels
from lmablate.model.linear import Linear
from lmablate.model.pos import Heads, Position, Scores, Stream

Bias = Callable[[Scores], Scores]
Keys = Float[Tensor, "batch n_heads keys d_head"]


def softmax(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the softmax over the last dimension; the maximum is subtracted first, so that exp does not overflow."""
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def _future(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "{queries} {keys}"]:
    """Return a mask, True where a key lies in a query's future; the queries have the last positions."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(keys - queries + 1)


@lru_cache(maxsize=64)
def _minus_infinity_in_future(
    queries: int, keys: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "1 1 {queries} {keys}"]:
    """Return what masks scores when it is added to them: -inf in a query's future, 0 elsewhere."""
    zeros = torch.zeros(1, 1, queries, keys, dtype=dtype, device=device)
    return zeros.masked_fill_(_future(queries, keys, device), -math.inf)


def attention(
    q: Float[Tensor, "batch n_heads queries d_head"],
    k: Keys,
    v: Keys,
    bias: Bias,
) -> Float[Tensor, "batch n_heads queries d_head"]:
    """Return softmax(mask(bias(q kᵀ / sqrt(d_head)))) v, arXiv 1706.03762, equation 1.

    Args:
        q: queries; they have the last of the keys' positions.
        k: keys.
        v: values.
        bias: what the position scheme adds to the scores, `Position.bias`.
    """
    scores = bias(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    scores = scores.masked_fill(_future(q.shape[-2], k.shape[-2], q.device), -math.inf)
    return softmax(scores) @ v


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
        shape, time, scale = q.shape, q.shape[-2], 1 / math.sqrt(q.shape[-1])
        out, probabilities = torch.empty_like(q), []  # in q's memory order, in which the layer splits and merges heads
        # Batch and heads become one dimension: torch's batched matrix product takes three dimensions.
        q = torch.mul(q, scale, out=q.new_empty(shape)).flatten(0, 1)
        k, v = k.flatten(0, 1), v.flatten(0, 1)
        for start in range(0, time, BlockCausalAttention.BLOCK):
            end = min(start + BlockCausalAttention.BLOCK, time)
            mask = _minus_infinity_in_future(end - start, end, q.dtype, q.device)
            added = bias(mask.expand(1, shape[1], -1, -1)).expand(shape[0], -1, -1, -1).flatten(0, 1)
            p = torch.softmax(torch.baddbmm(added, q[:, start:end], k[:, :end].mT), -1)
            out[:, :, start:end] = torch.bmm(p, v[:, :end]).view(*shape[:2], end - start, -1)
            probabilities.append(p)
        ctx.save_for_backward(q, k, v, out, *probabilities)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    # torch declares backward with any number of gradients; ours has one output.
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of q, k and v; `bias` has none."""
        q, k, v, out, *probabilities = ctx.saved_tensors
        shape, end = out.shape, 0
        row_sums = (d_out * out).sum(-1, keepdim=True).flatten(0, 1)
        dq, dk, dv = torch.empty_like(out), torch.zeros_like(k), torch.zeros_like(v)
        d_out = d_out.flatten(0, 1)
        for p in probabilities:
            start, end = end, end + p.shape[1]
            d_block = d_out[:, start:end]
            dv[:, :end] += torch.bmm(p.mT, d_block)  # baddbmm_ into a slice would run matrix by matrix
            ds = torch.baddbmm(row_sums[:, start:end], d_block, v[:, :end].mT, beta=-1).mul_(p)
            dq[:, :, start:end] = torch.bmm(ds, k[:, :end]).view(*shape[:2], end - start, -1)
            dk[:, :end] += torch.bmm(ds.mT, q[:, start:end])
        return dq.mul_(ctx.scale), dk.view(shape), dv.view(shape), None


def fused_causal_attention(q: Heads, k: Keys, v: Keys, pos: Position) -> Heads:
    """Return what `attention` returns, by torch's kernels, which never store the scores on a GPU (arXiv 2205.14135)."""
    if q.shape[-2] == k.shape[-2] and not pos.biases:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    mask = pos.bias(q.new_zeros(1, q.shape[1], q.shape[2], k.shape[2]))
    mask = mask.masked_fill(_future(q.shape[2], k.shape[2], q.device), -math.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def causal_attention(q: Heads, k: Keys, v: Keys, pos: Position) -> Heads:
    """Return what `attention` returns, by the fastest form: our kernel or blocks on a CPU, else torch's kernels."""
    if q.device.type != "cpu":
        return fused_causal_attention(q, k, v, pos)
    if q.shape[-2] == k.shape[-2]:
        if not pos.biases and have_kernels(q, k, v, whole=q.shape[-1]):
            return FusedAttention.apply(q, k, v)
        return BlockCausalAttention.apply(q, k, v, pos.bias)
    return attention(q, k, v, pos.bias)


class KVCache:
    """One layer's keys and values of the tokens seen so far, so that each new token costs one step.

    Attributes:
        k: keys, [batch, n_heads, length, d_head]; None before the first token.
        v: values, of the same shape; None before the first token.
    """

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None

    @property
    def length(self) -> int:
        """Number of tokens seen."""
        return 0 if self.k is None else self.k.shape[2]

    def extend(self, k: Heads, v: Heads) -> tuple[Keys, Keys]:
        """Append the keys and values of new tokens, and return those of all tokens."""
        self.k = k if self.k is None else torch.cat((self.k, k), dim=2)
        self.v = v if self.v is None else torch.cat((self.v, v), dim=2)
        return self.k, self.v


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which no token sees its future, arXiv 1706.03762, section 3.2.2.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads; each is d_model / n_heads wide.

    Raises:
        UserError: if `d_model` is not a multiple of `n_heads`.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise UserError(
                f"model.d_model={d_model} cannot be split among model.n_heads={n_heads}: "
                "d_model must be a multiple of n_heads."
            )
        self.n_heads = n_heads
        self.q = Linear(d_model, d_model)
        self.k = Linear(d_model, d_model)
        self.v = Linear(d_model, d_model)
        self.o = Linear(d_model, d_model)

    def forward(self, x: Stream, pos: Position, cache: KVCache | None = None) -> Stream:
        """Let every token of `x` attend to itself and to the tokens before it.

        Args:
            x: the tokens' vectors; the tokens follow those that `cache` holds.
            pos: the model's position scheme, the same for all layers.
            cache: this layer's keys and values of earlier tokens, extended by those of `x`; None without a cache.
        """
        q, k, v = self._split_heads(self.q(x)), self._split_heads(self.k(x)), self._split_heads(self.v(x))
        q, k = pos.rotate(q, k, start=0 if cache is None else cache.length)
        if cache is not None:
            k, v = cache.extend(k, v)
        heads = causal_attention(q, k, v, pos)
        return self.o(heads.transpose(1, 2).flatten(-2))

    def _split_heads(self, x: Stream) -> Heads:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
