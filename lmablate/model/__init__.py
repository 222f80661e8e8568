"""The model and its variants. Start with transformer.py; every other file is one thing that an ablation changes.

transformer  the residual stream, pre-norm and post-norm blocks
attention    causal multi-head attention, plain and fast; the key-value cache
pos          position encodings
mlp          feed-forward layers and their activations
norm         RMSNorm and LayerNorm
head         tied and untied output matrices
init         initialisation schemes
linear       the two layers that hold matrices
loss         cross-entropy, plain and without ever holding all logits
size         parameters and FLOPs in closed form, and the d_ff that makes two arms equal
precision    mixed precision

A config names a variant by this package: `_target_: lmablate.model.RoPE`. Run ids hash these strings, so a class that
moved, or was spelled `lmablate.model.pos.RoPE`, would orphan every run that names it (tests/runs/test_ids.py).
"""

from lmablate.model.attention import CausalSelfAttention, KVCache, attention, causal_attention, softmax
from lmablate.model.head import TiedHead, UntiedHead
from lmablate.model.init import CS336, GPT2, Init, Scaled
from lmablate.model.linear import Embedding, Linear
from lmablate.model.loss import cross_entropy, linear_cross_entropy
from lmablate.model.mlp import GELU, MLP, GatedMLP, GeGLU, ReLU, ReLU2, SiLU, SwiGLU
from lmablate.model.norm import LayerNorm, RMSNorm
from lmablate.model.pos import ALiBi, Learned, NoPE, Position, RoPE, Sinusoidal
from lmablate.model.transformer import Block, PostNorm, PreNorm, Transformer

__all__ = [
    "CS336", "GELU", "GPT2", "MLP", "ALiBi", "Block", "CausalSelfAttention", "Embedding", "GatedMLP", "GeGLU",
    "Init", "KVCache", "LayerNorm", "Learned", "Linear", "NoPE", "Position", "PostNorm", "PreNorm", "RMSNorm", "ReLU",
    "ReLU2", "RoPE", "Scaled", "SiLU", "Sinusoidal", "SwiGLU", "TiedHead", "Transformer", "UntiedHead",
    "attention", "causal_attention", "cross_entropy", "linear_cross_entropy", "softmax",
]  # fmt: skip
