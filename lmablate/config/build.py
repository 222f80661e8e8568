"""Check a config, and build the objects that it names."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lmablate.config import schema
from lmablate.config.arguments import check_arguments, path_arguments
from lmablate.config.credentials import config_leaves, refuse_secrets
from lmablate.config.folders import expand_folders
from lmablate.config.trust import refuse_foreign_classes
from lmablate.config.tuned import apply_tuned
from lmablate.errors import UserError
from lmablate.files import checked_experiment, user_path
from lmablate.model import MLP, Transformer
from lmablate.model.size import Shape, count_parameters


def check_config(cfg: DictConfig) -> None:
    """Check everything that can be checked before anything is built or written.

    Raises:
        UserError: if a key is unknown or has no value, a class is not one of lmablate's or takes other arguments, a
            value is a secret or of the wrong type, or a number is out of range.
    """
    _check_keys(cfg)
    plain: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    refuse_foreign_classes(plain)
    refuse_secrets(dict(config_leaves(plain)))
    for key, kind in schema.strict_keys().items():
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, kind):
            rule = "text, in quotes" if kind is str else "true or false"
            raise UserError(f"{key}={value} is not allowed: it must be {rule}.")
    checked_experiment("name", cfg.name)
    check_seed("seed", cfg.seed)
    for key, least in schema.AT_LEAST.items():
        value = OmegaConf.select(cfg, key)
        if value is not None and not least <= value < math.inf:  # only a key that may be null can be
            raise UserError(f"{key}={value} is not allowed: it must be at least {least} and finite.")
    if cfg.train.precision not in schema.PRECISIONS:
        allowed = " or ".join(schema.PRECISIONS)
        raise UserError(f"train.precision={cfg.train.precision!r} is not allowed: choose {allowed}.")
    if not schema.DEVICE.fullmatch(cfg.train.device):
        raise UserError(f"train.device={cfg.train.device} is not allowed: choose auto, cpu, cuda or cuda:N.")
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
    if len(cfg.optim.betas) != 2 or not all(0 <= beta < 1 for beta in cfg.optim.betas):
        raise UserError(f"optim.betas={cfg.optim.betas} is not allowed: it must be two numbers from 0 to below 1.")
    _check_parts(plain)


def check_seed(key: str, seed: int) -> None:
    """Check a seed, of a run or of a text to generate.

    Raises:
        UserError: if it is negative, or larger than a column of the tables holds.
    """
    least, most = schema.SEEDS
    if not least <= seed <= most:
        raise UserError(f"{key}={seed} is not allowed: it must be between {least} and {most}.")


def _check_parts(plain: Mapping[str, Any]) -> None:
    """Check the arguments of every class that a config names, and build those that cost nothing."""
    parts = {f"model.{group}": plain["model"][group] for group in schema.MODEL_GROUPS}
    parts |= {key: plain[key] for key in ("data", "match", "tracking", "schedule", "loss")}
    parts |= {f"optim.{key}": plain["optim"][key] for key in ("algorithm", "decay", "average")}
    probes = plain["diagnostics"].get("probes") if isinstance(plain["diagnostics"], dict) else None
    if not isinstance(probes, list):
        raise UserError("diagnostics is not allowed: it must have a list `probes`.")
    parts |= {f"diagnostics.probes.{i}": probe for i, probe in enumerate(probes)}
    for key, part in parts.items():
        if not isinstance(part, dict) or "_target_" not in part:
            raise UserError(f"{key}={part} is not allowed: choose an option of its group, or name a class (_target_).")
        check_arguments(key, part, schema.OF_ALGORITHMS if key == "optim.algorithm" else ())
    whole = ("tracking", "optim.decay", "optim.average", "schedule", "loss")
    build_all(OmegaConf.create([*probes, *(parts[key] for key in whole)]))
    _check_algorithm(parts["optim.algorithm"])


def _check_algorithm(node: Mapping[str, Any]) -> None:
    """Build an algorithm for a single number, so that it checks its own arguments."""
    if node.get("_partial_") is not True:
        raise UserError("optim.algorithm._partial_ must be true: the model's parameters are not known in a config.")
    algorithm = build(OmegaConf.create(dict(node)))
    if not issubclass(algorithm.func, torch.optim.Optimizer):
        raise UserError(f"optim.algorithm._target_={node['_target_']} is not allowed: it must be an optimizer.")
    algorithm([torch.zeros(1, 1, requires_grad=True)])


def _check_keys(cfg: DictConfig) -> None:
    """Refuse keys that the schema does not have, which Hydra lets a user add with `+key=value`."""
    for path, spec in (
        ("", schema.Config),
        ("model", schema.ModelConfig),
        ("optim", schema.OptimConfig),
        ("train", schema.TrainConfig),
        ("tokenizer", schema.TokenizerConfig),
    ):
        node = OmegaConf.select(cfg, path) if path else cfg
        if missing := {f.name for f in fields(spec)} - {str(key) for key in node}:
            raise UserError(f"{'.'.join(filter(None, (path, min(missing))))} is missing from the config.")
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
    """Return a checked copy of `cfg`: with absolute paths, its arm's tuned values, and the d_ff that `match` found.

    Raises:
        UserError: if `check_config` refuses the config, if `tuned` is not for it, or if no d_ff makes the sizes match.
    """
    check_config(cfg)
    cfg = cfg.copy()
    if cfg.tuned is not None:
        apply_tuned(cfg)
        check_config(cfg)
    expand_folders(cfg)
    for name in path_arguments(cfg.data):
        if cfg.data[name] is not None:
            cfg.data[name] = str(user_path(f"data.{name}", cfg.data[name]).absolute())
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

    They are read off the model, built without storage (on the meta device). What it has beyond the parameters and
    matrices that the formulas know is counted, whatever the variant.
    """
    model = build_model(cfg, "meta")
    block, sizes = model.blocks[0], cfg.model
    shape = Shape(
        vocab_size=cfg.tokenizer.vocab_size,
        d_model=sizes.d_model,
        n_layers=sizes.n_layers,
        n_heads=sizes.n_heads,
        d_ff=sizes.d_ff,
        context_length=sizes.context_length,
        mlp_matrices=block.mlp.matrices,
        tied=model.head.tied,
        learned_positions=count_parameters(model.pos) == sizes.context_length * sizes.d_model,
        norm_params=count_parameters(block.norm_2),
        final_norm=count_parameters(model.norm) > 0,
        mlp_vectors=sum(len(p) == sizes.d_ff for p in _inner_vectors(block.mlp)),
    )
    matrices = sum(p.numel() for block in model.blocks for p in block.parameters() if p.dim() >= 2)
    return replace(
        shape,
        other_params=count_parameters(model) - shape.parameters(),
        other_weights=matrices - shape.block_matrices() * sizes.n_layers,
    )


def _inner_vectors(mlp: MLP) -> list[nn.Parameter]:
    """Return the vectors of an MLP but those of `down`, whose length is d_model."""
    return [p for name, p in mlp.named_parameters() if p.dim() == 1 and not name.startswith("down.")]
