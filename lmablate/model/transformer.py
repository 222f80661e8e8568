"""A decoder-only Transformer language model. Everything that an ablation may change is passed in as a class."""

from collections.abc import Callable, Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.attention import CausalSelfAttention, KVCache
from lmablate.model.head import TiedHead, UntiedHead
from lmablate.model.init import Init
from lmablate.model.linear import Embedding
from lmablate.model.mlp import MLP
from lmablate.model.norm import make_norm
from lmablate.model.pos import Position

Stream = Float[Tensor, "batch time d_model"]


class Block(nn.Module):
    """Attention and MLP, each in a branch beside the residual stream. The subclass decides where the norms stand."""

    def __init__(self, d_model: int, attn: CausalSelfAttention, mlp: MLP, *, kind: str = "rmsnorm") -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.norm_1, self.norm_2 = make_norm(kind, d_model), make_norm(kind, d_model)
        self.kind, self.d_model = kind, d_model

    def final_norm(self) -> nn.Module:
        """Return what the model puts between its last block and the output matrix."""
        raise NotImplementedError("a subclass of Block says how the stream ends")


class PreNorm(Block):
    """The norm inside the branch; the stream itself is never normalised, arXiv 2002.04745, figure 1b."""

    def forward(self, x: Stream, pos: Position, cache: KVCache | None = None) -> Stream:
        x = x + self.attn(self.norm_1(x), pos, cache)
        x = x + self.mlp(self.norm_2(x))
        return x

    def final_norm(self) -> nn.Module:
        return make_norm(self.kind, self.d_model)


class PostNorm(Block):
    """The norm after the sum, as in the first Transformer, arXiv 1706.03762, section 3.1."""

    def forward(self, x: Stream, pos: Position, cache: KVCache | None = None) -> Stream:
        x = self.norm_1(x + self.attn(x, pos, cache))
        x = self.norm_2(x + self.mlp(x))
        return x

    def final_norm(self) -> nn.Module:
        return nn.Identity()  # the last block has just normalised


class Transformer(nn.Module):
    """tokens -> embedding -> n_layers blocks -> (norm) -> logits.

    Args:
        vocab_size: number of tokens in the vocabulary.
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads of a block; they share d_model.
        d_ff: width of an MLP.
        context_length: tokens of a training sequence.
        norm: `PreNorm` or `PostNorm`, with its `kind` bound (rmsnorm or layernorm).
        pos: a `Position` class; one object serves all layers.
        act: an `MLP` class.
        tying: `TiedHead` or `UntiedHead`.
        init: an initialisation scheme of init.py.
        seed: together with a parameter's name it determines the parameter's first values.

    Raises:
        UserError: if the sizes do not fit together.
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
            norm(d_model, CausalSelfAttention(d_model, n_heads), act(d_model, d_ff)) for _ in range(n_layers)
        )
        self.norm = self.blocks[-1].final_norm()
        self.head = tying(vocab_size, d_model)
        init.fill(self, n_layers, seed)

    @property
    def output_weight(self) -> Float[Tensor, "vocab_size d_model"]:
        """The matrix that turns the last hidden state into logits; the embedding's own if the model is tied."""
        return self.head.matrix(self.embed.weight)

    def new_cache(self) -> list[KVCache]:
        """Return an empty cache, one part for each layer, to pass to `hidden` call after call."""
        return [KVCache() for _ in self.blocks]

    def hidden(self, tokens: Int[Tensor, "batch time"], cache: Sequence[KVCache] | None = None) -> Stream:
        """Return the last hidden state of every position, which the output matrix reads.

        Args:
            tokens: the text, or its continuation if `cache` holds the tokens before.
            cache: from `new_cache`; it is extended by the keys and values of `tokens`.
        """
        layer_caches = cache or [None] * len(self.blocks)
        x = self.pos.embed(self.embed(tokens), start=cache[0].length if cache else 0)
        for block, layer_cache in zip(self.blocks, layer_caches, strict=True):
            x = block(x, self.pos, layer_cache)
        return self.norm(x)

    def forward(
        self, tokens: Int[Tensor, "batch time"], cache: Sequence[KVCache] | None = None
    ) -> Float[Tensor, "batch time vocab_size"]:
        """Return the logits of the next token at every position."""
        return self.hidden(tokens, cache) @ self.output_weight.mT
