"""Check a config, and build the objects that it names."""

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lmablate.config import schema
from lmablate.config.credentials import config_leaves, refuse_secrets
from lmablate.config.trust import refuse_foreign_classes
from lmablate.errors import UserError
from lmablate.model import CausalSelfAttention, Transformer
from lmablate.model.size import Shape, count_parameters


def check_config(cfg: DictConfig) -> None:
    """Check everything that can be checked before anything is built or written.

    Raises:
        UserError: if a key is unknown, a class is not one of lmablate's, a value is a secret, or a number is out of
            range.
    """
    _check_keys(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    refuse_foreign_classes(plain)
    refuse_secrets(dict(config_leaves(plain)))
    for key, least in schema.AT_LEAST.items():
        value = OmegaConf.select(cfg, key)
        if not least <= value < math.inf:
            raise UserError(f"{key}={value} is not allowed: it must be at least {least} and finite.")
    if not cfg.optim.grad_clip > 0:
        raise UserError(
            f"optim.grad_clip={cfg.optim.grad_clip} is not allowed: it must be positive (.inf switches clipping off)."
        )
    least, most = schema.VOCAB_SIZES
    if not least <= cfg.tokenizer.vocab_size <= most:
        raise UserError(
            f"tokenizer.vocab_size={cfg.tokenizer.vocab_size} is not allowed: it must be between {least} (the bytes "
            f"and one special token) and {most} (what uint16 holds)."
        )
    if cfg.optim.min_lr is not None and not 0 <= cfg.optim.min_lr <= cfg.optim.lr:
        raise UserError(
            f"optim.min_lr={cfg.optim.min_lr} is not allowed: it must lie between 0 and optim.lr={cfg.optim.lr}."
        )


def _check_keys(cfg: DictConfig) -> None:
    """Refuse keys that the schema does not have, which Hydra lets a user add with `+key=value`."""
    for path, spec in (
        ("", schema.Config),
        ("model", schema.ModelConfig),
        ("optim", schema.OptimConfig),
        ("train", schema.TrainConfig),
    ):
        node = OmegaConf.select(cfg, path) if path else cfg
        if unknown := {str(key) for key in node} - {f.name for f in fields(spec)}:
            key = ".".join(filter(None, (path, min(unknown))))
            raise UserError(f"{key} is not a key of the config: --help lists them.")


def build(node: DictConfig) -> Any:
    """Build the object that `node` names.

    Raises:
        UserError: if a class in it is not one of lmablate's, or if its constructor refuses a value.
    """
    refuse_foreign_classes(OmegaConf.to_container(node, resolve=True))
    try:
        return instantiate(node)
    except Exception as error:
        if isinstance(error.__cause__, UserError):  # Hydra wraps what a constructor raises
            raise error.__cause__ from None
        raise


def build_all(nodes: Iterable[DictConfig]) -> list[Any]:
    """Build the object that each node names."""
    return [build(node) for node in nodes]


def resolve_config(cfg: DictConfig) -> DictConfig:
    """Return a checked copy of `cfg`, in which `match` has solved for d_ff.

    Raises:
        UserError: if `check_config` refuses the config, or if no d_ff makes the sizes match.
    """
    check_config(cfg)
    cfg = cfg.copy()
    cfg.model.d_ff = build(cfg.match).d_ff(model_shape(cfg))
    return cfg


def _build_model_parts(cfg: DictConfig) -> dict[str, Any]:
    """Build what the model's groups choose, by group: classes with their arguments bound, and the init scheme."""
    return {group: build(cfg.model[group]) for group in schema.MODEL_GROUPS}


def build_model(cfg: DictConfig, device: str | torch.device = "cpu") -> Transformer:
    """Build the model of a resolved config on `device`: "cpu", or "meta" for a model without storage.

    Each matrix is drawn by a generator of its own, seeded by the seed, the init scheme's salt and the parameter's name.
    """
    sizes = {key: cfg.model[key] for key in schema.MODEL_SIZES}
    with torch.device(device):
        return Transformer(vocab_size=cfg.tokenizer.vocab_size, **sizes, **_build_model_parts(cfg), seed=cfg.seed)


def model_shape(cfg: DictConfig) -> Shape:
    """Return the sizes that the closed formulas for parameters and FLOPs need.

    They are read off one block that is built without storage (on the meta device).
    """
    model, parts = cfg.model, _build_model_parts(cfg)
    with torch.device("meta"):
        pos = parts["pos"](model.d_model, model.n_heads, model.context_length)
        attn = CausalSelfAttention(model.d_model, model.n_heads)
        block = parts["norm"](model.d_model, attn, parts["act"](model.d_model, model.d_ff))
        head = parts["tying"](1, 1)
    return Shape(
        vocab_size=cfg.tokenizer.vocab_size,
        d_model=model.d_model,
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        d_ff=model.d_ff,
        context_length=model.context_length,
        mlp_matrices=block.mlp.matrices,
        tied=head.tied,
        learned_positions=count_parameters(pos) > 0,
        norm_params=count_parameters(block.norm_1),
        final_norm=count_parameters(block.final_norm()) > 0,
    )
