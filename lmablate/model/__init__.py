"""The model and its variants. Start with transformer.py; every other file is one thing that an ablation changes."""

from lmablate.model.attention import CausalSelfAttention, attention, causal_attention, softmax
from lmablate.model.head import TiedHead, UntiedHead
from lmablate.model.init import CS336, GPT2, Init, Scaled
from lmablate.model.linear import Embedding, Linear
from lmablate.model.mlp import GELU, MLP, GatedMLP, GeGLU, ReLU, ReLU2, SiLU, SwiGLU
from lmablate.model.norm import LayerNorm, RMSNorm
from lmablate.model.pos import ALiBi, Learned, NoPE, Position, RoPE, Sinusoidal
from lmablate.model.transformer import Block, PostNorm, PreNorm, Transformer

__all__ = [
    "CS336", "GELU", "GPT2", "MLP", "ALiBi", "Block", "CausalSelfAttention", "Embedding", "GatedMLP", "GeGLU",
    "Init", "LayerNorm", "Learned", "Linear", "NoPE", "Position", "PostNorm", "PreNorm", "RMSNorm", "ReLU",
    "ReLU2", "RoPE", "Scaled", "SiLU", "Sinusoidal", "SwiGLU", "TiedHead", "Transformer", "UntiedHead",
    "attention", "causal_attention", "softmax",
]  # fmt: skip
