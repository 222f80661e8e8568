"""The model, its variants, its loss and its size. Start reading with transformer.py.

transformer  the residual stream, blocks with norms in several places, the whole model
residual     how the output of a branch joins the stream
attention    causal attention, written out and fast
self_attention   the attention layer and its variants; the key-value cache
mixer        what mixes neighbouring tokens before attention
attention_parts  what may be changed inside it: norms of queries and keys, values, scores, a gate
pos          position schemes
rope         rotary position schemes
mlp          feed-forward layers and their activations
norm         RMSNorm, LayerNorm, DyT
head         tied and untied output matrices; a cap on the logits
init         initialisation schemes
linear       the two layers that hold matrices, Linear and Embedding; which of them have a bias
dropout      dropout by counters
scaling      how initialisation, learning rates and scores depend on the width
loss         cross-entropy, written out and without ever holding all logits
size         parameters and FLOPs in closed form, and the d_ff that makes two arms equal
fast         kernels in C for a CPU: attention, rotation, SwiGLU, RMSNorm, the loss, AdamW
precision    a cast for the operations that need more than 16 bits
checks       what a layer may be given, or one sentence

transformer (norm placement), residual, self_attention, attention_parts, mixer, pos, rope, mlp, head, init, linear
(biases), dropout and scaling hold the choices of the groups in conf/model: an ablation swaps them. Fast forms are
tested against plain definitions: `attention`, `cross_entropy`, and the functions in the section "Reference" at the end
of rope, mlp and norm.

A config names a variant by this package: `_target_: lmablate.model.RoPE`. Run ids hash these strings. If a class moved,
or if a config spelled it `lmablate.model.pos.RoPE`, the runs that name it would be lost (tests/runs/test_ids.py).
"""

from lmablate.model.attention import attention, causal_attention, softmax
from lmablate.model.attention_parts import (
    CappedScores,
    ElementGate,
    HeadGate,
    NoGate,
    NoQKNorm,
    PlainScores,
    PlainValues,
    QKNorm,
    ValueResidual,
)
from lmablate.model.dropout import Dropout, NoDropout
from lmablate.model.head import CappedLogits, PlainLogits, TiedHead, UntiedHead
from lmablate.model.init import CS336, GPT2, Init, Scaled, ZeroBranches
from lmablate.model.linear import AllBiases, Embedding, Linear, NoBias, QKVBias
from lmablate.model.loss import CrossEntropy, ZLoss, cross_entropy, linear_cross_entropy, linear_z_loss
from lmablate.model.mixer import Canon, NoMixer
from lmablate.model.mlp import GELU, MLP, GatedMLP, GeGLU, ReLU, ReLU2, SiLU, SwiGLU
from lmablate.model.norm import DyT, LayerNorm, RMSNorm
from lmablate.model.pos import ALiBi, Learned, NoPE, Position, Sinusoidal
from lmablate.model.residual import EmbeddingSkip, LayerScale, Plain, ReZero
from lmablate.model.rope import NoPEEvery, PartialRoPE, RoPE, YaRN
from lmablate.model.scaling import MuP, Standard
from lmablate.model.self_attention import (
    CausalSelfAttention,
    GroupedQueryAttention,
    KVCache,
    MultiQueryAttention,
    WindowAttention,
)
from lmablate.model.transformer import (
    Block,
    HybridNorm,
    ParallelNorm,
    PeriNorm,
    PostNorm,
    PreNorm,
    SandwichNorm,
    Transformer,
)

__all__ = [
    "CS336", "GELU", "GPT2", "MLP", "ALiBi", "AllBiases", "Block", "Canon", "CappedLogits", "CappedScores",
    "CausalSelfAttention", "CrossEntropy", "Dropout", "DyT", "ElementGate", "Embedding", "EmbeddingSkip",
    "GatedMLP", "GeGLU", "GroupedQueryAttention", "HeadGate", "HybridNorm", "Init", "KVCache", "LayerNorm",
    "LayerScale", "Learned", "Linear", "MuP", "MultiQueryAttention", "NoBias", "NoDropout", "NoGate", "NoMixer",
    "NoPE", "NoPEEvery", "NoQKNorm", "ParallelNorm", "PartialRoPE", "PeriNorm", "Plain", "PlainLogits",
    "PlainScores", "PlainValues", "Position", "PostNorm", "PreNorm", "QKNorm", "QKVBias", "RMSNorm", "ReLU",
    "ReLU2", "ReZero", "RoPE", "SandwichNorm", "Scaled", "SiLU", "Sinusoidal", "Standard", "SwiGLU", "TiedHead",
    "Transformer", "UntiedHead", "ValueResidual", "WindowAttention", "YaRN", "ZLoss", "ZeroBranches", "attention",
    "causal_attention", "cross_entropy", "linear_cross_entropy", "linear_z_loss", "softmax",
]  # fmt: skip
