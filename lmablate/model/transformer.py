"""A decoder-only Transformer language model. Everything that an ablation may change is passed in as a class."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Float, Int
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.attention import CausalSelfAttention, KVCache, NoCache
from lmablate.model.head import TiedHead, UntiedHead
from lmablate.model.init import Init
from lmablate.model.linear import Embedding
from lmablate.model.mlp import MLP
from lmablate.model.norm import make_norm
from lmablate.model.pos import Position

Stream = Float[Tensor, "batch time d_model"]


class Block(nn.Module):
    """Attention and MLP, each beside the residual stream; where the norms stand is the subclass's choice."""

    def __init__(self, d_model: int, attn: CausalSelfAttention, mlp: MLP, *, kind: str = "rmsnorm") -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.norm_1, self.norm_2 = make_norm(kind, d_model), make_norm(kind, d_model)
        self.kind, self.d_model = kind, d_model

    def final_norm(self) -> nn.Module:
        """What the model puts between its last block and the output matrix."""
        raise NotImplementedError("a subclass of Block says how the stream ends")


class PreNorm(Block):
    """The norm inside the branch; the stream itself is never normalised, arXiv 2002.04745, figure 1b."""

    def forward(self, x: Stream) -> Stream:
        x = x + self.attn(self.norm_1(x))
        x = x + self.mlp(self.norm_2(x))
        return x

    def final_norm(self) -> nn.Module:
        return make_norm(self.kind, self.d_model)


class PostNorm(Block):
    """The norm after the sum, as in the first Transformer, arXiv 1706.03762, section 3.1."""

    def forward(self, x: Stream) -> Stream:
        x = self.norm_1(x + self.attn(x))
        x = self.norm_2(x + self.mlp(x))
        return x

    def final_norm(self) -> nn.Module:
        return nn.Identity()  # the last block has just normalised


class Transformer(nn.Module):
    """tokens -> embedding -> n_layers blocks -> (norm) -> logits.

    Args:
        vocab_size, d_model, n_layers, n_heads, d_ff, context_length: the sizes.
        norm: `PreNorm` or `PostNorm`, with its `kind` bound (rmsnorm or layernorm).
        pos: a `Position` class. act: an `MLP` class. tying: `TiedHead` or `UntiedHead`.
        init: a scheme of init.py. seed: with a parameter's name, the key of its first values.

    Raises UserError where sizes do not fit together.
    """

    blocks: Sequence[Block]

    def __init__(
        self,
        *,
        vocab_size: int,
        d_model: int,
        n_layers: int,
        n_heads: int,
        d_ff: int,
        context_length: int,
        norm: Callable[..., Block],
        pos: Callable[..., Position],
        act: Callable[..., MLP],
        tying: Callable[..., TiedHead | UntiedHead],
        init: Init,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = dict(d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_ff=d_ff, context_length=context_length)
        for key, size in sizes.items():
            if size < 1:
                raise UserError(f"model.{key}={size} is not allowed: it must be at least 1.")
        self.vocab_size, self.context_length = vocab_size, context_length
        self.embed = Embedding(vocab_size, d_model)
        self.pos = pos(d_model, n_heads, context_length)
        self.blocks = nn.ModuleList(  # pyright: ignore[reportAttributeAccessIssue]
            norm(d_model, CausalSelfAttention(d_model, n_heads, self.pos), act(d_model, d_ff)) for _ in range(n_layers)
        )
        self.norm = self.blocks[-1].final_norm()
        self.head = tying(self.embed)
        init.fill(self, n_layers, seed)

    def hidden(self, tokens: Int[Tensor, "batch time"]) -> Stream:
        """What the output matrix reads: the last hidden state of every position."""
        x = self.pos.embed(self.embed(tokens), start=self.blocks[0].attn.cache.length)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab_size"]:
        """Logits of the next token at every position."""
        return self.hidden(tokens) @ self.head.weight.mT

    @contextmanager
    def caching(self) -> Iterator[None]:
        """Within, each call continues the tokens of the calls before it, at the cost of the new ones alone."""
        try:
            for block in self.blocks:
                block.attn.cache = KVCache()
            yield
        finally:
            for block in self.blocks:
                block.attn.cache = NoCache()
