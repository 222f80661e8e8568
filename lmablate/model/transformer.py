"""A decoder-only Transformer language model. Every part that an ablation may change is passed in as a class."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float, Int, UInt
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.attention_parts import NoGate, NoQKNorm, PlainScores, PlainValues, QKVNorm
from lmablate.model.checks import check_sizes
from lmablate.model.dropout import NoDropout
from lmablate.model.head import PlainLogits, TiedHead, UntiedHead
from lmablate.model.init import Init
from lmablate.model.linear import Embedding, NoBias
from lmablate.model.mixer import NoMixer
from lmablate.model.mlp import MLP
from lmablate.model.norm import make_norm
from lmablate.model.pos import NO_POSITIONS, Position, Stream
from lmablate.model.residual import Early, Plain
from lmablate.model.scaling import Standard
from lmablate.model.self_attention import CausalSelfAttention, KVCache

Tokens = Int[Tensor, "*batch time"] | UInt[Tensor, "*batch time"]


class Block(nn.Module):
    """Attention and MLP, each in a branch beside the residual stream. A subclass decides where the norms stand.

    Args:
        d_model: width of the residual stream.
        attn: the attention layer.
        mlp: the feed-forward layer.
        kind: which norm, a key of `NORMS` in norm.py.

    Attributes:
        residual_1: how the attention's output joins the stream, an object of residual.py.
        residual_2: the same for the MLP.
        drop_1: what is dropped of the attention's output before, an object of dropout.py.
        drop_2: the same for the MLP.
    """

    def __init__(self, d_model: int, attn: CausalSelfAttention, mlp: MLP, *, kind: str = "rmsnorm") -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.norm_1, self.norm_2 = make_norm(kind, d_model), make_norm(kind, d_model)
        self.residual_1, self.residual_2 = Plain(d_model), Plain(d_model)
        self.drop_1, self.drop_2 = NoDropout(), NoDropout()
        self.kind, self.d_model = kind, d_model

    def forward(
        self, x: Stream, pos: Position = NO_POSITIONS, cache: KVCache | None = None, early: Early | None = None
    ) -> Stream:
        """Return the stream after both branches.

        Args:
            x: the stream.
            pos: the layer's position scheme.
            cache: the layer's part of the cache; None without one.
            early: what the first layer left to the later ones; None if this is the first.
        """
        return self.update(x, pos, cache, early or Early(x))

    def update(self, x: Stream, pos: Position, cache: KVCache | None, early: Early) -> Stream:
        """Return the stream after both branches; the arguments are those of `forward`."""
        raise NotImplementedError("a subclass of Block must define update")

    def first_norm(self) -> nn.Module:
        """Return the module between the embedding and the first block."""
        return nn.Identity()

    def final_norm(self) -> nn.Module:
        """Return the module between the last block and the output matrix: a norm, if the stream has not had one."""
        return make_norm(self.kind, self.d_model)


class PreNorm(Block):
    """The norm inside the branch; the stream itself is never normalised, arXiv 2002.04745, figure 1b."""

    def update(self, x: Stream, pos: Position, cache: KVCache | None, early: Early) -> Stream:
        """Return the stream after both branches."""
        x = x + self.residual_1(self.drop_1(self.attn(self.norm_1(x), pos, cache, early)), early)
        x = x + self.residual_2(self.drop_2(self.mlp(self.norm_2(x))), early)
        return x


class PostNorm(Block):
    """The norm after the sum, as in the first Transformer, arXiv 1706.03762, section 3.1."""

    def update(self, x: Stream, pos: Position, cache: KVCache | None, early: Early) -> Stream:
        """Return the stream after both branches."""
        x = self.norm_1(x + self.residual_1(self.drop_1(self.attn(x, pos, cache, early)), early))
        x = self.norm_2(x + self.residual_2(self.drop_2(self.mlp(x)), early))
        return x

    def final_norm(self) -> nn.Module:
        """Return the identity: the last block has already normalised the stream."""
        return nn.Identity()


class SandwichNorm(Block):
    """A norm at both ends of the branch, arXiv 2105.13290, section 2.4: no branch can write large numbers."""

    def __init__(self, d_model: int, attn: CausalSelfAttention, mlp: MLP, *, kind: str = "rmsnorm") -> None:
        super().__init__(d_model, attn, mlp, kind=kind)
        self.norm_3, self.norm_4 = make_norm(kind, d_model), make_norm(kind, d_model)

    def update(self, x: Stream, pos: Position, cache: KVCache | None, early: Early) -> Stream:
        """Return the stream after both branches."""
        x = x + self.residual_1(self.drop_1(self.norm_3(self.attn(self.norm_1(x), pos, cache, early))), early)
        x = x + self.residual_2(self.drop_2(self.norm_4(self.mlp(self.norm_2(x)))), early)
        return x


class PeriNorm(SandwichNorm):
    """As `SandwichNorm`, and the embedding is normalised, too, arXiv 2502.02732, section 3.3."""

    def first_norm(self) -> nn.Module:
        """Return a norm."""
        return make_norm(self.kind, self.d_model)


class HybridNorm(Block):
    """Norms of queries, keys and values in attention, and post-norm around the MLP, arXiv 2503.04598, equations 6, 7.

    The attention layer gets a `QKVNorm`, whatever norm of queries and keys it had.
    """

    def __init__(self, d_model: int, attn: CausalSelfAttention, mlp: MLP, *, kind: str = "rmsnorm") -> None:
        super().__init__(d_model, attn, mlp, kind=kind)
        self.norm_1 = nn.Identity()  # the attention layer has norms of its own
        self.attn.qk_norm = QKVNorm(attn.d_head)

    def update(self, x: Stream, pos: Position, cache: KVCache | None, early: Early) -> Stream:
        """Return the stream after both branches."""
        x = self.norm_2(x + self.residual_1(self.drop_1(self.attn(self.norm_1(x), pos, cache, early)), early))
        x = x + self.residual_2(self.drop_2(self.mlp(x)), early)
        return x


class ParallelNorm(Block):
    """Both branches read the same stream and are added to it together (arXiv 2204.06745, section 2.1)."""

    def update(self, x: Stream, pos: Position, cache: KVCache | None, early: Early) -> Stream:
        """Return the stream after both branches."""
        y_1 = self.residual_1(self.drop_1(self.attn(self.norm_1(x), pos, cache, early)), early)
        y_2 = self.residual_2(self.drop_2(self.mlp(self.norm_2(x))), early)
        return x + y_1 + y_2


class Transformer(nn.Module):
    """The whole model: tokens -> embedding -> n_layers blocks -> (norm) -> logits.

    Args:
        vocab_size: number of tokens in the vocabulary.
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads per block; each is d_model / n_heads wide.
        d_ff: width of an MLP.
        context_length: tokens of a training sequence.
        norm: a `Block` class, with its `kind` of norm already bound.
        pos: a `Position` class; one object serves all layers.
        act: an `MLP` class.
        tying: `TiedHead` or `UntiedHead`.
        init: an initialisation scheme of init.py.
        attn: a `CausalSelfAttention` class.
        qk_norm: a norm of queries and keys, of attention_parts.py.
        values: what values a layer uses, of attention_parts.py.
        scores: what caps the scores, of attention_parts.py.
        gate: what scales the heads' outputs, of attention_parts.py.
        mixer: what mixes neighbouring tokens before attention, of mixer.py.
        residual: how a branch joins the stream, of residual.py.
        logits: what caps the logits, of head.py.
        bias: which layers have a bias, of linear.py.
        dropout: what is dropped in training, of dropout.py.
        scaling: how initialisation, rates and scores depend on the width, of scaling.py.
        seed: together with a parameter's name, it determines the parameter's first values; and what is dropped.

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
        attn: Callable[..., CausalSelfAttention] = CausalSelfAttention,
        qk_norm: Callable[..., NoQKNorm] = NoQKNorm,
        values: Callable[..., PlainValues] = PlainValues,
        scores: Callable[..., PlainScores] = PlainScores,
        gate: Callable[..., NoGate] = NoGate,
        mixer: Callable[..., NoMixer] = NoMixer,
        residual: Callable[..., Plain] = Plain,
        logits: Callable[..., PlainLogits] = PlainLogits,
        bias: Callable[..., NoBias] = NoBias,
        dropout: Callable[..., NoDropout] = NoDropout,
        scaling: Callable[..., Standard] = Standard,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = dict(d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_ff=d_ff, context_length=context_length)
        check_sizes({f"model.{key}": size for key, size in sizes.items()} | {"vocab_size": vocab_size})
        self.vocab_size, self.context_length = vocab_size, context_length
        self.scaling = scaling(d_model, n_heads)
        self.embed = Embedding(vocab_size, d_model)
        self.pos = pos(d_model, n_heads, context_length)
        inside: dict[str, Any] = dict(qk_norm=qk_norm, values=values, scores=scores, gate=gate, mixer=mixer)
        self.blocks = nn.ModuleList(  # pyright: ignore[reportAttributeAccessIssue]  (ModuleList is not generic)
            norm(d_model, attn(d_model, n_heads, **inside), act(d_model, d_ff)) for _ in range(n_layers)
        )
        for i, block in enumerate(self.blocks):
            block.residual_1, block.residual_2 = residual(d_model), residual(d_model)
            block.drop_1, block.drop_2 = dropout(f"blocks.{i}.attn", seed), dropout(f"blocks.{i}.mlp", seed)
            bias().add(block)
            block.attn.scaling = self.scaling
        self.drop, self.logits = dropout("embed", seed), logits()
        self.first_norm, self.norm = self.blocks[0].first_norm(), self.blocks[-1].final_norm()
        self.head = tying(vocab_size, d_model)
        init.fill(self, n_layers, seed, self.scaling)

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
        x = self.drop(self.first_norm(x))
        early = Early(x)
        for layer, (block, layer_cache) in enumerate(zip(self.blocks, layer_caches, strict=True)):
            x = block(x, self.pos.of_layer(layer), layer_cache, early)
        return self.scaling.hidden(self.norm(x))

    def forward(
        self, tokens: Tokens, cache: Sequence[KVCache] | None = None
    ) -> Float[Tensor, "*batch time vocab_size"]:
        """Return the logits of the token after each token; the arguments are those of `hidden`."""
        return self.logits_of(self.hidden(tokens, cache))

    def logits_of(self, hidden: Stream) -> Float[Tensor, "*batch time vocab_size"]:
        """Return the logits that follow from last hidden states."""
        return self.logits(hidden @ self.output_weight.mT)
