"""The model, its variants, its loss and its size. Start reading with transformer.py.

transformer  the residual stream, pre-norm and post-norm blocks, the whole model
attention    causal multi-head attention, written out and fast; the key-value cache
pos          position schemes
mlp          feed-forward layers and their activations
norm         RMSNorm and LayerNorm
head         tied and untied output matrices
init         initialisation schemes
linear       the two layers that hold matrices: Linear and Embedding
loss         cross-entropy, written out and without ever holding all logits
size         parameters and FLOPs in closed form, and the d_ff that makes two arms equal
fast         kernels in C for a CPU: attention, rotation, SwiGLU, RMSNorm, the loss, AdamW
precision    a cast for the operations that need more than 16 bits
checks       what a layer may be given, or one sentence

transformer (norm placement), pos, mlp, head and init hold the choices of the groups in conf/model: an ablation swaps
them. Fast forms are tested against plain definitions: `attention`, `cross_entropy`, and the functions in the section
"Reference" at the end of pos, mlp and norm.

A config names a variant by this package: `_target_: lmablate.model.RoPE`. Run ids hash these strings. If a class moved,
or if a config spelled it `lmablate.model.pos.RoPE`, the runs that name it would be lost (tests/runs/test_ids.py).
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
