"""Convert a model to the format of the transformers library, if one of its architectures computes exactly the same."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lmablate.data.corpora import END_OF_TEXT
from lmablate.errors import UserError
from lmablate.files import read_json, write_json
from lmablate.model import (
    GELU,
    CausalSelfAttention,
    GroupedQueryAttention,
    LayerNorm,
    Learned,
    MultiQueryAttention,
    NoGate,
    NoMixer,
    NoQKNorm,
    Plain,
    PlainScores,
    PlainValues,
    PreNorm,
    RMSNorm,
    RoPE,
    SwiGLU,
    Transformer,
)
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.interchange import save_hugging_face

# The content of config.json, and the weights by their names in transformers.
HuggingFaceModel = tuple[dict[str, Any], dict[str, Tensor]]
# The files of an export, and the key of config.json that names the run.
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
RUN_KEY = "lmablate_run"


def save_pretrained(model: Transformer, tokenizer: Tokenizer, folder: Path | str, run: str | None = None) -> None:
    """Write config.json, model.safetensors and the tokenizer, as AutoModelForCausalLM and AutoTokenizer read them.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        folder: the folder to write, made if it does not exist.
        run: the id of the run, noted in config.json; None if there is none.

    Raises:
        UserError: if no architecture of transformers is the model's.
    """
    config, tensors = _export(model)
    folder = Path(folder)
    end = tokenizer.token_id(END_OF_TEXT.encode())
    folder.mkdir(parents=True, exist_ok=True)
    common = {"bos_token_id": end, "eos_token_id": end, "dtype": "float32", RUN_KEY: run}
    write_json(folder / "config.json", config | common)
    weights = {name: t.detach().float().cpu().contiguous() for name, t in tensors.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_hugging_face(tokenizer, folder / "tokenizer.json")
    special = dict.fromkeys(("bos_token", "eos_token"), END_OF_TEXT) if end is not None else {}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.context_length}
    write_json(folder / "tokenizer_config.json", {**about, **special})


def is_export_of(run: str, folder: Path) -> bool:
    """Return whether `save_pretrained` wrote a folder, for the run with this id."""
    try:
        return read_json(folder / "config.json").get(RUN_KEY) == run
    except (OSError, ValueError, AttributeError):
        return False


def _export(model: Transformer) -> HuggingFaceModel:
    """Return the config and the weights for the architecture that computes exactly what `model` computes."""
    for parts, convert in ARCHITECTURES.items():
        if parts == _parts_of(model):
            return convert(model)
    known = " or ".join("+".join(part.__name__ for part in parts) for parts in ARCHITECTURES)
    raise UserError(
        f"this run cannot be exported: transformers has no architecture with "
        f"{'+'.join(part.__name__ for part in _parts_of(model))}, only {known}."
    )


def _parts_of(model: Transformer) -> tuple[type, ...]:
    """Return the classes of block, norm, positions and MLP, and of what else is not the neutral choice."""
    block, attn = model.blocks[0], model.blocks[0].attn
    others = (attn, attn.qk_norm, attn.values, attn.scores, attn.gate, attn.mixer, block.residual_1)
    changed = [type(part) for part in others if type(part) not in NEUTRAL_PARTS]
    return type(block), type(block.norm_1), type(model.pos), type(block.mlp), *changed


def _llama(model: Transformer) -> HuggingFaceModel:
    """Convert to LlamaForCausalLM."""
    block: Any = model.blocks[0]
    n_heads, n_kv_heads = block.attn.n_heads, block.attn.n_kv_heads
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": block.d_model,
        "intermediate_size": block.mlp.up.weight.shape[0],
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "max_position_embeddings": model.context_length,
        "hidden_act": "silu",
        "rms_norm_eps": block.norm_1.eps,
        "rope_theta": model.pos.theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.pos.theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": model.head.tied,
    }
    tensors = {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.norm.weight}
    tensors |= _own_head(model)
    for i, block in enumerate(model.blocks):
        at = f"model.layers.{i}"
        tensors |= {
            f"{at}.input_layernorm.weight": block.norm_1.weight,
            f"{at}.self_attn.q_proj.weight": _halves(block.attn.q.weight, n_heads),
            f"{at}.self_attn.k_proj.weight": _halves(block.attn.k.weight, n_kv_heads),
            f"{at}.self_attn.v_proj.weight": block.attn.v.weight,
            f"{at}.self_attn.o_proj.weight": block.attn.o.weight,
            f"{at}.post_attention_layernorm.weight": block.norm_2.weight,
            f"{at}.mlp.gate_proj.weight": block.mlp.gate.weight,
            f"{at}.mlp.up_proj.weight": block.mlp.up.weight,
            f"{at}.mlp.down_proj.weight": block.mlp.down.weight,
        }
    return config, tensors


def _gpt2(model: Transformer) -> HuggingFaceModel:
    """Convert to GPT2LMHeadModel with the exact GELU. Its biases are zero, since our layers have none."""
    block: Any = model.blocks[0]
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.vocab_size,
        "n_embd": block.d_model,
        "n_inner": block.mlp.up.weight.shape[0],
        "n_layer": len(model.blocks),
        "n_head": block.attn.n_heads,
        "n_positions": model.context_length,
        "activation_function": "gelu",
        "layer_norm_epsilon": block.norm_1.eps,
        "tie_word_embeddings": model.head.tied,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0),
    }
    tensors = {"transformer.wte.weight": model.embed.weight, "transformer.wpe.weight": model.pos.weight}
    tensors |= {f"transformer.ln_f.{name}": t for name, t in model.norm.named_parameters()} | _own_head(model)
    for i, block in enumerate(model.blocks):
        at, attn = f"transformer.h.{i}", block.attn
        tensors |= {f"{at}.ln_1.{name}": t for name, t in block.norm_1.named_parameters()}
        tensors |= {f"{at}.ln_2.{name}": t for name, t in block.norm_2.named_parameters()}
        tensors |= _conv1d(f"{at}.attn.c_attn", torch.cat((attn.q.weight, attn.k.weight, attn.v.weight)))
        tensors |= _conv1d(f"{at}.attn.c_proj", attn.o.weight)
        tensors |= _conv1d(f"{at}.mlp.c_fc", block.mlp.up.weight)
        tensors |= _conv1d(f"{at}.mlp.c_proj", block.mlp.down.weight)
    return config, tensors


def _own_head(model: Transformer) -> dict[str, Tensor]:
    """Return the output matrix, or nothing if it is tied to the embedding."""
    return {} if model.head.tied else {"lm_head.weight": model.output_weight}


def _halves(weight: Tensor, n_heads: int) -> Tensor:
    """Permute the rows of a query or key matrix from RoPE over pairs (2i, 2i + 1) to pairs (i, i + d_head/2).

    Our RoPE rotates the former pairs, that of transformers the latter. Queries and keys are permuted alike, so their
    products do not change.
    """
    return weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _conv1d(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Return a matrix as GPT-2 stores it: transposed, with a bias, which is zero here."""
    return {f"{name}.weight": weight.mT, f"{name}.bias": weight.new_zeros(len(weight))}


NEUTRAL_PARTS = (CausalSelfAttention, NoQKNorm, PlainValues, PlainScores, NoGate, NoMixer, Plain)
# The variants of block, norm, position encoding and MLP -> the architecture that computes the same.
ARCHITECTURES: Mapping[tuple[type, ...], Callable[[Transformer], HuggingFaceModel]] = {
    (PreNorm, RMSNorm, RoPE, SwiGLU): _llama,
    (PreNorm, RMSNorm, RoPE, SwiGLU, GroupedQueryAttention): _llama,
    (PreNorm, RMSNorm, RoPE, SwiGLU, MultiQueryAttention): _llama,
    (PreNorm, LayerNorm, Learned, GELU): _gpt2,
}
