"""A decoder-only Transformer language model. Every part that an ablation may change is passed in as a class."""

from collections.abc import Callable, Sequence

from jaxtyping import Float, Int, UInt
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.attention import CausalSelfAttention, KVCache
from lmablate.model.checks import check_sizes
from lmablate.model.head import TiedHead, UntiedHead
from lmablate.model.init import Init
from lmablate.model.linear import Embedding
from lmablate.model.mlp import MLP
from lmablate.model.norm import make_norm
from lmablate.model.pos import NO_POSITIONS, Position, Stream

Tokens = Int[Tensor, "*batch time"] | UInt[Tensor, "*batch time"]


class Block(nn.Module):
    """Attention and MLP, each in a branch beside the residual stream. A subclass decides where the norms stand.

    Args:
        d_model: width of the residual stream.
        attn: the attention layer.
        mlp: the feed-forward layer.
        kind: which norm, "rmsnorm" or "layernorm".
    """

    def __init__(self, d_model: int, attn: CausalSelfAttention, mlp: MLP, *, kind: str = "rmsnorm") -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.norm_1, self.norm_2 = make_norm(kind, d_model), make_norm(kind, d_model)
        self.kind, self.d_model = kind, d_model

    def final_norm(self) -> nn.Module:
        """Return the module between the last block and the output matrix."""
        raise NotImplementedError("a subclass of Block must define final_norm")


class PreNorm(Block):
    """The norm inside the branch; the stream itself is never normalised, arXiv 2002.04745, figure 1b."""

    def forward(self, x: Stream, pos: Position = NO_POSITIONS, cache: KVCache | None = None) -> Stream:
        """Return the stream after both branches."""
        x = x + self.attn(self.norm_1(x), pos, cache)
        x = x + self.mlp(self.norm_2(x))
        return x

    def final_norm(self) -> nn.Module:
        """Return a norm: the stream has not been normalised yet."""
        return make_norm(self.kind, self.d_model)


class PostNorm(Block):
    """The norm after the sum, as in the first Transformer, arXiv 1706.03762, section 3.1."""

    def forward(self, x: Stream, pos: Position = NO_POSITIONS, cache: KVCache | None = None) -> Stream:
        """Return the stream after both branches."""
        x = self.norm_1(x + self.attn(x, pos, cache))
        x = self.norm_2(x + self.mlp(x))
        return x

    def final_norm(self) -> nn.Module:
        """Return the identity: the last block has already normalised the stream."""
        return nn.Identity()


class Transformer(nn.Module):
    """The whole model: tokens -> embedding -> n_layers blocks -> (norm) -> logits.

    Args:
        vocab_size: number of tokens in the vocabulary.
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads per block; each is d_model / n_heads wide.
        d_ff: width of an MLP.
        context_length: tokens of a training sequence.
        norm: `PreNorm` or `PostNorm`, with its `kind` ("rmsnorm" or "layernorm") already bound.
        pos: a `Position` class; one object serves all layers.
        act: an `MLP` class.
        tying: `TiedHead` or `UntiedHead`.
        init: an initialisation scheme of init.py.
        seed: together with a parameter's name, it determines the parameter's first values.

    Raises:
        UserError: if a size is less than 1, or if the sizes do not fit together.
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
        check_sizes({f"model.{key}": size for key, size in sizes.items()} | {"vocab_size": vocab_size})
        self.vocab_size, self.context_length = vocab_size, context_length
        self.embed = Embedding(vocab_size, d_model)
        self.pos = pos(d_model, n_heads, context_length)
        self.blocks = nn.ModuleList(  # pyright: ignore[reportAttributeAccessIssue]  (ModuleList is not generic)
            norm(d_model, CausalSelfAttention(d_model, n_heads), act(d_model, d_ff)) for _ in range(n_layers)
        )
        self.norm = self.blocks[-1].final_norm()
        self.head = tying(vocab_size, d_model)
        init.fill(self, n_layers, seed)

    @property
    def output_weight(self) -> Float[Tensor, "vocab_size d_model"]:
        """The matrix that turns the last hidden state into logits; the embedding's if the model is tied."""
        return self.head.matrix(self.embed.weight)

    def new_cache(self) -> list[KVCache]:
        """Return an empty cache, one part per layer. Pass it to each call that continues the same text."""
        return [KVCache() for _ in self.blocks]

    def hidden(self, tokens: Tokens, cache: Sequence[KVCache] | None = None) -> Stream:
        """Return the last hidden state of every token, which the output matrix reads.

        Args:
            tokens: the text, or its continuation if `cache` holds the tokens before it; any number of texts at once.
            cache: from `new_cache`, extended by the keys and values of `tokens`; None without a cache.

        Raises:
            UserError: if a token is no id of the vocabulary, or `cache` is that of a model with other layers.
        """
        layer_caches = [None] * len(self.blocks) if cache is None else cache
        if len(layer_caches) != len(self.blocks):
            raise UserError(f"cache has {len(layer_caches)} layers, but the model has {len(self.blocks)}.")
        x = self.pos.embed(self.embed(tokens), start=0 if cache is None else cache[0].length)
        for block, layer_cache in zip(self.blocks, layer_caches, strict=True):
            x = block(x, self.pos, layer_cache)
        return self.norm(x)

    def forward(
        self, tokens: Tokens, cache: Sequence[KVCache] | None = None
    ) -> Float[Tensor, "*batch time vocab_size"]:
        """Return the logits of the token after each token; the arguments are those of `hidden`."""
        return self.hidden(tokens, cache) @ self.output_weight.mT
