"""Causal multi-head attention, written out, and the faster forms that are proved equal to it.

Read `attention` first: it is the definition. `causal_attention` picks the quickest form for the device.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmablate.errors import UserError
from lmablate.model.linear import Linear
from lmablate.model.pos import Heads, Position, Scores

Bias = Callable[[Scores], Scores]
Keys = Float[Tensor, "batch n_heads keys d_head"]


def softmax(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Over the last dimension; the maximum is taken off first, so that nothing overflows."""
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def _future(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "{queries} {keys}"]:
    """True where a key lies in a query's future. The queries are the last positions among the keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(keys - queries + 1)


def attention(
    q: Float[Tensor, "batch n_heads queries d_head"],
    k: Keys,
    v: Keys,
    bias: Bias,
) -> Float[Tensor, "batch n_heads queries d_head"]:
    """softmax(mask(bias(q kᵀ / sqrt(d_head)))) v, arXiv 1706.03762, equation 1."""
    scores = bias(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    scores = scores.masked_fill(_future(q.shape[-2], k.shape[-2], q.device), -math.inf)
    return softmax(scores) @ v


class BlockCausalAttention(torch.autograd.Function):
    """`attention` for as many queries as keys, by blocks of queries that see only the keys up to themselves.

    Half of the square is never computed, and only the diagonal block needs a mask. The probabilities are kept
    for the backward pass, which is the softmax's: dS = P ∘ (dP - rowsum(dP ∘ P)), and rowsum(dP ∘ P) is
    rowsum(dO ∘ O), a shorter sum (arXiv 2205.14135, equation 4).
    """

    BLOCK = 64

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
        shape, time, scale = q.shape, q.shape[-2], 1 / math.sqrt(q.shape[-1])
        # (batch, heads) folded into one: the batched matrix product of torch wants three dimensions.
        q = (q * scale).reshape(-1, *q.shape[2:])
        k = k.reshape(-1, *k.shape[2:])
        v = v.reshape(-1, *v.shape[2:])
        out, probabilities = torch.empty_like(v), []
        for start in range(0, time, BlockCausalAttention.BLOCK):
            end = min(start + BlockCausalAttention.BLOCK, time)
            p = torch.bmm(q[:, start:end], k[:, :end].mT)
            p = bias(p.view(*shape[:2], end - start, end)).view_as(p)
            p[:, :, start:].masked_fill_(_future(end - start, end - start, q.device), -math.inf)
            p = torch.softmax(p, -1)
            out[:, start:end] = torch.bmm(p, v[:, :end])
            probabilities.append(p)
        ctx.save_for_backward(q, k, v, out, *probabilities)
        ctx.scale, ctx.shape = scale, shape
        return out.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, out, *probabilities = ctx.saved_tensors
        d_out = d_out.reshape(v.shape)
        row_sums = (d_out * out).sum(-1, keepdim=True)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        end = 0
        for p in probabilities:
            start, end = end, end + p.shape[1]
            d_block = d_out[:, start:end]
            dv[:, :end] += torch.bmm(p.mT, d_block)  # baddbmm_ into a slice would go matrix by matrix
            ds = torch.bmm(d_block, v[:, :end].mT)
            ds = ds.sub_(row_sums[:, start:end]).mul_(p)
            dq[:, start:end] = torch.bmm(ds, k[:, :end])
            dk[:, :end] += torch.bmm(ds.mT, q[:, start:end])
        return dq.mul_(ctx.scale).view(ctx.shape), dk.view(ctx.shape), dv.view(ctx.shape), None


def fused_causal_attention(q: Heads, k: Keys, v: Keys, pos: Position) -> Heads:
    """`attention` by torch's fused kernels, which never store the scores (arXiv 2205.14135) on a GPU."""
    if q.shape[-2] == k.shape[-2] and not pos.biases:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    mask = pos.bias(q.new_zeros(1, q.shape[1], q.shape[2], k.shape[2]))
    mask = mask.masked_fill(_future(q.shape[2], k.shape[2], q.device), -math.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def causal_attention(q: Heads, k: Keys, v: Keys, pos: Position) -> Heads:
    """`attention` in the form that is quickest here: blocks on a CPU, torch's fused kernels elsewhere."""
    if q.device.type != "cpu":
        return fused_causal_attention(q, k, v, pos)
    if q.shape[-2] == k.shape[-2]:
        return BlockCausalAttention.apply(q, k, v, pos.bias)
    return attention(q, k, v, pos.bias)


class KVCache:
    """Keys and values of the tokens seen so far, for one layer, so that each new token costs one step."""

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

    def split_heads(self, x: Float[Tensor, "batch time d_model"]) -> Heads:
        """[batch, time, d_model] -> [batch, n_heads, time, d_head]."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def forward(
        self, x: Float[Tensor, "batch time d_model"], pos: Position, cache: KVCache | None = None
    ) -> Float[Tensor, "batch time d_model"]:
        """Attend from every token of `x` to itself and to the tokens before it.

        Args:
            x: the tokens, after those that `cache` holds.
            pos: the model's position scheme, the same for all layers.
            cache: this layer's keys and values of earlier tokens; None if there are none.
        """
        q, k, v = self.split_heads(self.q(x)), self.split_heads(self.k(x)), self.split_heads(self.v(x))
        q, k = pos.rotate(q, k, start=cache.length if cache else 0)
        if cache:
            k, v = cache.extend(k, v)
        heads = causal_attention(q, k, v, pos)
        return self.o(heads.transpose(1, 2).flatten(-2))
