"""Convert a model to the format of the transformers library, if one of its architectures computes exactly the same."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lmablate.data.corpora import END_OF_TEXT
from lmablate.errors import UserError
from lmablate.files import read_json, write_json
from lmablate.model import (
    GELU,
    CausalSelfAttention,
    GroupedQueryAttention,
    LayerNorm,
    Learned,
    Linear,
    MultiQueryAttention,
    NoGate,
    NoMixer,
    NoQKNorm,
    Plain,
    PlainLogits,
    PlainScores,
    PlainValues,
    PreNorm,
    RMSNorm,
    RoPE,
    Standard,
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
    inside = (attn, attn.qk_norm, attn.values, attn.scores, attn.gate, attn.mixer)
    others = (*inside, block.residual_1, model.logits, model.scaling)
    changed = [type(part) for part in others if type(part) not in NEUTRAL_PARTS]
    return type(block), type(block.norm_1), type(model.pos), type(block.mlp), *changed


def _llama(model: Transformer) -> HuggingFaceModel:
    """Convert to LlamaForCausalLM."""
    block: Any = model.blocks[0]
    n_heads, n_kv_heads = block.attn.n_heads, block.attn.n_kv_heads
    biased = {name: _has_bias(part) for name, part in (("attn", block.attn), ("mlp", block.mlp))}
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
        "attention_bias": biased["attn"],
        "mlp_bias": biased["mlp"],
        "tie_word_embeddings": model.head.tied,
    }
    tensors = {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.norm.weight}
    tensors |= _own_head(model)
    for i, block in enumerate(model.blocks):
        at = f"model.layers.{i}"
        tensors[f"{at}.input_layernorm.weight"] = block.norm_1.weight
        tensors[f"{at}.post_attention_layernorm.weight"] = block.norm_2.weight
        for name, heads in {"q": n_heads, "k": n_kv_heads, "v": None, "o": None}.items():
            tensors |= _linear(f"{at}.self_attn.{name}_proj", getattr(block.attn, name), biased["attn"], heads)
        for name in ("gate", "up", "down"):
            tensors |= _linear(f"{at}.mlp.{name}_proj", getattr(block.mlp, name), biased["mlp"])
    return config, tensors


def _gpt2(model: Transformer) -> HuggingFaceModel:
    """Convert to GPT2LMHeadModel with the exact GELU. Its biases are zero where our layers have none."""
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
        tensors |= _conv1d(f"{at}.attn.c_attn", attn.q, attn.k, attn.v)
        tensors |= _conv1d(f"{at}.attn.c_proj", attn.o)
        tensors |= _conv1d(f"{at}.mlp.c_fc", block.mlp.up)
        tensors |= _conv1d(f"{at}.mlp.c_proj", block.mlp.down)
    return config, tensors


def _own_head(model: Transformer) -> dict[str, Tensor]:
    """Return the output matrix, or nothing if it is tied to the embedding."""
    return {} if model.head.tied else {"lm_head.weight": model.output_weight}


def _has_bias(part: nn.Module) -> bool:
    """Return whether a linear layer of a part has a bias."""
    return any(layer.bias is not None for layer in part.modules() if isinstance(layer, Linear))


def _bias(layer: Linear) -> Tensor:
    """Return the bias of a layer, zeros if it has none."""
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias


def _linear(name: str, layer: Linear, biased: bool, heads: int | None = None) -> dict[str, Tensor]:
    """Return the tensors of a linear layer; those of queries and keys, which have heads, in the order of `_halves`."""
    tensors = {f"{name}.weight": layer.weight} | ({f"{name}.bias": _bias(layer)} if biased else {})
    return {key: _halves(tensor, heads) if heads else tensor for key, tensor in tensors.items()}


def _halves(rows: Tensor, n_heads: int) -> Tensor:
    """Permute the rows of a query or key layer from RoPE over pairs (2i, 2i + 1) to pairs (i, i + d_head/2).

    Our RoPE rotates the former pairs, that of transformers the latter. Queries and keys are permuted alike, so their
    products do not change.
    """
    return rows.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _conv1d(name: str, *layers: Linear) -> dict[str, Tensor]:
    """Return layers side by side as GPT-2 stores them: one transposed matrix, and a bias."""
    weight, bias = (torch.cat([of(layer) for layer in layers]) for of in (lambda layer: layer.weight, _bias))
    return {f"{name}.weight": weight.mT, f"{name}.bias": bias}


NEUTRAL_PARTS = (CausalSelfAttention, NoQKNorm, PlainValues, PlainScores, NoGate, NoMixer, Plain, PlainLogits, Standard)
# The variants of block, norm, position encoding and MLP -> the architecture that computes the same.
ARCHITECTURES: Mapping[tuple[type, ...], Callable[[Transformer], HuggingFaceModel]] = {
    (PreNorm, RMSNorm, RoPE, SwiGLU): _llama,
    (PreNorm, RMSNorm, RoPE, SwiGLU, GroupedQueryAttention): _llama,
    (PreNorm, RMSNorm, RoPE, SwiGLU, MultiQueryAttention): _llama,
    (PreNorm, LayerNorm, Learned, GELU): _gpt2,
}
