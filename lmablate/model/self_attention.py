"""The attention layer and its variants: how many heads keys and values have, and how far back a token looks."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.attention import Queries, causal_attention
from lmablate.model.attention_parts import NoGate, NoQKNorm, PlainScores, PlainValues
from lmablate.model.checks import check_floats, check_sizes
from lmablate.model.linear import Linear
from lmablate.model.mixer import NoMixer
from lmablate.model.pos import NO_POSITIONS, ChangedScores, Heads, KVHeads, Position, ScoreChange, Scores, Stream
from lmablate.model.residual import Early
from lmablate.model.scaling import Standard

# Of all tokens that the cache has seen, which may be more than those of the queries.
Keys = Float[Tensor, "*kv_heads keys d_head"]


class KVCache:
    """One layer's keys and values of the tokens seen so far, so that each new token costs one step.

    Attributes:
        k: keys, [..., n_kv_heads, length, d_head]; None before the first token.
        v: values, of the same shape; None before the first token.
        before: what the layer's mixer has to know of the last tokens; None if that is nothing.
    """

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self.before: Tensor | None = None

    @property
    def length(self) -> int:
        """Number of tokens seen."""
        return 0 if self.k is None else self.k.shape[-2]

    def extend(self, k: KVHeads, v: KVHeads) -> tuple[Keys, Keys]:
        """Append the keys and values of new tokens, and return those of all tokens.

        Raises:
            UserError: if they are not of the batch whose tokens were seen.
        """
        if self.k is None or self.v is None:
            self.k, self.v = k, v
        else:
            for name, old, new in (("k", self.k, k), ("v", self.v, v)):
                check_floats(name, new, *old.shape[:-2], "time", old.shape[-1])
            self.k, self.v = torch.cat((self.k, k), dim=-2), torch.cat((self.v, v), dim=-2)
        return self.k, self.v


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which no token sees its future, arXiv 1706.03762, section 3.2.2.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads; each is d_model / n_heads wide.
        qk_norm: a class of attention_parts.py that normalises queries and keys.
        values: one that mixes in the first layer's values.
        scores: one that changes the scores.
        gate: one that scales the heads' outputs.
        mixer: a class of mixer.py that mixes neighbouring tokens before anything else.

    Attributes:
        scaling: how the scores depend on the width, an object of scaling.py.

    Raises:
        UserError: if `d_model` is not a multiple of `n_heads`.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        qk_norm: Callable[..., NoQKNorm] = NoQKNorm,
        values: Callable[..., PlainValues] = PlainValues,
        scores: Callable[..., PlainScores] = PlainScores,
        gate: Callable[..., NoGate] = NoGate,
        mixer: Callable[..., NoMixer] = NoMixer,
    ) -> None:
        super().__init__()
        check_sizes({"model.d_model": d_model, "model.n_heads": n_heads})
        if d_model % n_heads:
            raise UserError(
                f"model.d_model={d_model} cannot be split among model.n_heads={n_heads}: "
                "d_model must be a multiple of n_heads."
            )
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.q = Linear(d_model, d_model)
        self.k = Linear(d_model, self.n_kv_heads * self.d_head)
        self.v = Linear(d_model, self.n_kv_heads * self.d_head)
        self.o = Linear(d_model, d_model)
        self.qk_norm, self.values = qk_norm(self.d_head), values()
        self.scores, self.gate, self.mixer = scores(), gate(d_model, n_heads), mixer(d_model)
        self.scaling = Standard(d_model, n_heads)

    @property
    def n_kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self.n_heads

    def forward(
        self, x: Stream, pos: Position = NO_POSITIONS, cache: KVCache | None = None, early: Early | None = None
    ) -> Stream:
        """Let every token of `x` attend to itself and to the tokens before it.

        Args:
            x: the tokens' vectors, after any number of batch dimensions; the tokens follow those that `cache` holds.
            pos: the layer's position scheme.
            cache: this layer's keys and values of earlier tokens, extended by those of `x`; None without a cache.
            early: what the first layer left to the later ones; None if this is the first.
        """
        check_floats("x", x, "time", self.q.weight.shape[1])
        x, before = self.mixer(x, None if cache is None else cache.before)
        q, k, v = self._split_heads(self.q(x)), self._split_heads(self.k(x)), self._split_heads(self.v(x))
        v = self.values(v, early or Early(x))
        q, k, v = self.qk_norm(q, k, v)
        q, k = pos.rotate(q, k, start=0 if cache is None else cache.length)
        if cache is not None:
            k, v = cache.extend(k, v)
            cache.before = before
        heads = self.gate(self.attend(self.scaling.queries(q), k, v, self.scores(pos)), x)
        return self.o(heads.transpose(-3, -2).flatten(-2))

    def attend(self, q: Queries, k: Keys, v: Keys, pos: ScoreChange) -> Queries:
        """Return what each head reads: softmax(q kᵀ / sqrt(d_head)) v, its scores changed by `pos`."""
        return causal_attention(q, k, v, pos)

    def _split_heads(self, x: Stream) -> Heads:
        return x.unflatten(-1, (-1, self.d_head)).transpose(-3, -2)


class GroupedQueryAttention(CausalSelfAttention):
    """Groups of heads share one head of keys and values, arXiv 2305.13245: the cache is smaller, and so is the layer.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads of queries.
        n_kv_heads: number of heads of keys and values.
        parts: as in `CausalSelfAttention`.

    Raises:
        UserError: if `n_heads` is not a multiple of `n_kv_heads`.
    """

    def __init__(self, d_model: int, n_heads: int, *, n_kv_heads: Any = 2, **parts: Any) -> None:
        check_sizes({"model.n_heads": n_heads, "model.attn.n_kv_heads": n_kv_heads})
        if n_heads % n_kv_heads:
            raise UserError(
                f"model.attn.n_kv_heads={n_kv_heads} is not allowed: model.n_heads={n_heads} must be a multiple of it."
            )
        self._n_kv_heads = n_kv_heads
        super().__init__(d_model, n_heads, **parts)

    @property
    def n_kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self._n_kv_heads

    def attend(self, q: Queries, k: Keys, v: Keys, pos: ScoreChange) -> Queries:
        """Return what each head reads, from the keys and values of its group."""
        group = self.n_heads // self.n_kv_heads
        return causal_attention(q, k.repeat_interleave(group, -3), v.repeat_interleave(group, -3), pos)


class MultiQueryAttention(GroupedQueryAttention):
    """All heads share one head of keys and values, arXiv 1911.02150."""

    def __init__(self, d_model: int, n_heads: int, **parts: Any) -> None:
        super().__init__(d_model, n_heads, n_kv_heads=1, **parts)


class WindowAttention(CausalSelfAttention):
    """A token sees the last `window` tokens only, itself included, arXiv 2310.06825, section 2.

    Layer by layer, what it knows reaches further back.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads.
        window: number of tokens that a token sees.
        parts: as in `CausalSelfAttention`.

    Raises:
        UserError: if `window` is no size.
    """

    def __init__(self, d_model: int, n_heads: int, *, window: Any = 32, **parts: Any) -> None:
        check_sizes({"model.attn.window": window})
        super().__init__(d_model, n_heads, **parts)
        self.window = window

    def attend(self, q: Queries, k: Keys, v: Keys, pos: ScoreChange) -> Queries:
        """Return what each head reads within the window."""
        constant = pos.bias_is_constant or not pos.biases
        return causal_attention(q, k, v, ChangedScores(lambda scores: self._mask(pos.bias(scores)), constant))

    def _mask(self, scores: Scores) -> Scores:
        """Return the scores, -inf beyond the window; the queries have the last of the keys' positions."""
        queries, keys = scores.shape[-2:]
        beyond = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).tril(keys - queries - self.window)
        return scores.masked_fill(beyond, -torch.inf)
