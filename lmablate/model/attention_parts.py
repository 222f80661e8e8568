"""What may be changed inside an attention layer: norms of queries and keys, values, scores, and a gate at the end.

Each part is a class that does nothing, and one that does something. `CausalSelfAttention.forward` calls them in order:

    v = values(v, early)            the first layer's values beside the layer's own
    q, k, v = qk_norm(q, k, v)      norms in each head
    scores(pos)                     what changes the scores: the position scheme, and a cap
    heads = gate(heads, x)          how much of each head is let through
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmablate.model.checks import check_sizes, positive_number
from lmablate.model.linear import Linear
from lmablate.model.norm import make_norm
from lmablate.model.pos import ChangedScores, Heads, KVHeads, ScoreChange, Stream
from lmablate.model.residual import Early

# ---- Norms of queries and keys ----


class NoQKNorm(nn.Module):
    """Queries and keys as they are.

    Args:
        d_head: width of a head.
    """

    def __init__(self, d_head: int) -> None:
        super().__init__()
        check_sizes({"d_head": d_head})

    def forward(self, q: Heads, k: KVHeads, v: KVHeads) -> tuple[Heads, KVHeads, KVHeads]:
        """Return queries, keys and values."""
        return q, k, v


class QKNorm(NoQKNorm):
    """Queries and keys divided by their root mean square in each head, before they are turned, arXiv 2302.05442.

    The heads share one trained weight for queries and one for keys. A score is then at most the norm of both weights'
    product, however large the stream is.
    """

    def __init__(self, d_head: int) -> None:
        super().__init__(d_head)
        self.q, self.k = make_norm("rmsnorm", d_head), make_norm("rmsnorm", d_head)

    def forward(self, q: Heads, k: KVHeads, v: KVHeads) -> tuple[Heads, KVHeads, KVHeads]:
        """Return the normalised queries and keys, and the values."""
        return self.q(q), self.k(k), v


class QKVNorm(QKNorm):
    """Queries, keys and values normalised in each head, as HybridNorm does, arXiv 2503.04598, equation 6."""

    def __init__(self, d_head: int) -> None:
        super().__init__(d_head)
        self.v = make_norm("rmsnorm", d_head)

    def forward(self, q: Heads, k: KVHeads, v: KVHeads) -> tuple[Heads, KVHeads, KVHeads]:
        """Return all three, normalised."""
        return self.q(q), self.k(k), self.v(v)


# ---- Values ----


class PlainValues(nn.Module):
    """The layer's own values."""

    def forward(self, v: KVHeads, early: Early) -> KVHeads:
        """Return the values that the layer uses.

        Args:
            v: the layer's own values.
            early: what the first layer left.
        """
        return v


class ValueResidual(PlainValues):
    """The layer's own values mixed with those of the first layer, arXiv 2410.17897, with trained shares.

    v ← a · v + b · v of the first layer, both ½ at first. The first layer has its own values alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, v: KVHeads, early: Early) -> KVHeads:
        """Return the mixed values; the first layer leaves its own for the others."""
        if early.v is None:
            early.v = v
        own, first = self.shares.type_as(v)
        return own * v + first * early.v


# ---- Scores ----


class PlainScores(nn.Module):
    """The scores as the position scheme leaves them."""

    def forward(self, pos: ScoreChange) -> ScoreChange:
        """Return what changes the scores.

        Args:
            pos: the layer's position scheme.
        """
        return pos


class CappedScores(PlainScores):
    """Scores between -cap and cap: cap · tanh(score / cap), before the positions change them (arXiv 2408.00118).

    Args:
        cap: the largest size of a score; Gemma 2 takes 50.

    Raises:
        UserError: if `cap` is not a positive number.
    """

    def __init__(self, *, cap: Any = 50.0) -> None:
        super().__init__()
        self.cap = positive_number("model.scores.cap", cap)

    def forward(self, pos: ScoreChange) -> ScoreChange:
        """Return the cap, followed by the change of `pos`."""
        return ChangedScores(lambda scores: pos.bias(self.cap * torch.tanh(scores / self.cap)), bias_is_constant=False)


# ---- Gate ----


class NoGate(nn.Module):
    """All heads as they are.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        check_sizes({"model.d_model": d_model, "model.n_heads": n_heads})

    def forward(self, heads: Heads, x: Stream) -> Heads:
        """Return the heads' outputs.

        Args:
            heads: the outputs, before they are joined.
            x: the layer's input.
        """
        return heads


class HeadGate(NoGate):
    """Each head's output times σ(g · x), one number per head and token, arXiv 2505.06708, "headwise"."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.gate = Linear(d_model, n_heads)

    def forward(self, heads: Heads, x: Stream) -> Heads:
        """Return the gated outputs."""
        gate: Float[Tensor, "*heads time 1"] = self.gate(x).sigmoid().transpose(-2, -1)[..., None]
        return heads * gate


class ElementGate(NoGate):
    """Each number of the heads' outputs times one of its own, σ(W x), arXiv 2505.06708, "elementwise"."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.gate = Linear(d_model, d_model)

    def forward(self, heads: Heads, x: Stream) -> Heads:
        """Return the gated outputs."""
        return heads * self.gate(x).sigmoid().unflatten(-1, (heads.shape[-3], -1)).transpose(-3, -2)
