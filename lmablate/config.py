"""The config: its typed fixed slots, its checks, and the step from a node with `_target_` to an object."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf
from torch import nn

from lmablate.errors import UserError
from lmablate.loop import OptimSettings, TrainSettings
from lmablate.matching import Shape
from lmablate.model import CausalSelfAttention, Embedding, Transformer
from lmablate.secrets import flat, refuse_secrets
from lmablate.trust import refuse_foreign

NOT_IDENTITY = ("name", "data", "match", "scale", "tracking", "runs_dir", "data_dir", "skip_failed")
"""Keys that do not change what a run computes: `data` counts by its fingerprint, `match` by the d_ff it found."""
NOT_IDENTITY_TRAIN = ("device", "threads", "checkpoint_every", "keep_checkpoints")


@dataclass
class ModelConfig:
    d_model: int = MISSING
    n_layers: int = MISSING
    n_heads: int = MISSING
    d_ff: int = MISSING
    context_length: int = MISSING
    norm: Any = MISSING
    pos: Any = MISSING
    act: Any = MISSING
    tying: Any = MISSING
    init: Any = MISSING


@dataclass
class TokenizerConfig:
    vocab_size: int = MISSING


@dataclass
class Config:
    """Everything that a run depends on. Groups are `Any`: their yaml says which class they are."""

    name: str = "adhoc"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: Any = MISSING
    optim: OptimSettings = field(default_factory=OptimSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    match: Any = MISSING
    tracking: Any = MISSING
    diagnostics: Any = MISSING
    scale: Any = None
    runs_dir: str = "runs"
    data_dir: str = "data"
    skip_failed: bool = False


ConfigStore.instance().store(name="schema", node=Config)

AT_LEAST: dict[str, float] = {
    "seed": 0,
    **{f"model.{key}": 1 for key in ("d_model", "n_layers", "n_heads", "d_ff", "context_length")},
    **{f"train.{key}": 1 for key in ("max_steps", "batch_size", "log_every", "eval_every", "eval_batches")},
    "train.checkpoint_every": 1,
    "train.keep_checkpoints": 2,
    "train.threads": 0,
    **{f"optim.{key}": 0 for key in ("lr", "warmup_steps", "weight_decay")},
}


def check(cfg: DictConfig) -> None:
    """Raises UserError for a key that nothing reads, a foreign class, a secret or a number out of range: before
    anything is built or written."""
    for path, schema in (
        ("", Config),
        ("model", ModelConfig),
        ("optim", OptimSettings),
        ("train", TrainSettings),
    ):
        node = OmegaConf.select(cfg, path) if path else cfg
        if unknown := {str(key) for key in node} - {f.name for f in fields(schema)}:
            key = ".".join(filter(None, (path, min(unknown))))
            raise UserError(f"{key} is not a key of the config: --help lists them.")
    plain = OmegaConf.to_container(cfg, resolve=True)
    refuse_foreign(plain)
    refuse_secrets(dict(flat(plain)))
    for key, least in AT_LEAST.items():
        value = OmegaConf.select(cfg, key)
        if not least <= value < math.inf:
            raise UserError(f"{key}={value} is not allowed: it must be at least {least} and finite.")
    if not cfg.optim.grad_clip > 0:
        raise UserError(f"optim.grad_clip={cfg.optim.grad_clip} is not allowed: it must be positive (.inf is off).")
    if not 257 <= cfg.tokenizer.vocab_size <= 65_536:
        raise UserError(
            f"tokenizer.vocab_size={cfg.tokenizer.vocab_size} is not allowed: it must be between 257 (the bytes "
            "and one special token) and 65536 (what uint16 holds)."
        )
    if cfg.optim.min_lr is not None and not 0 <= cfg.optim.min_lr <= cfg.optim.lr:
        raise UserError(
            f"optim.min_lr={cfg.optim.min_lr} is not allowed: it must lie between 0 and optim.lr={cfg.optim.lr}."
        )


def build(node: DictConfig, **kwargs: Any) -> Any:
    """The object that `node` describes. Raises UserError unless every class in it is lmablate's own."""
    refuse_foreign(OmegaConf.to_container(node, resolve=True))
    try:
        return instantiate(node, **kwargs)
    except Exception as error:
        if isinstance(error.__cause__, UserError):  # Hydra wraps what a constructor raises
            raise error.__cause__ from None
        raise


def build_all(nodes: Iterable[DictConfig]) -> list[Any]:
    return [build(node) for node in nodes]


def resolve(cfg: DictConfig) -> DictConfig:
    """`cfg` checked, with its d_ff solved for where arms are to be matched."""
    check(cfg)
    cfg = cfg.copy()
    cfg.model.d_ff = build(cfg.match).d_ff(shape_of(cfg))
    return cfg


def parts(cfg: DictConfig) -> dict[str, Any]:
    """The classes that the model's groups choose."""
    return {slot: build(cfg.model[slot]) for slot in ("norm", "pos", "act", "tying", "init")}


def build_model(cfg: DictConfig, device: str | torch.device = "cpu") -> Transformer:
    """The model of a resolved config, its parameters drawn from (seed, name)."""
    sizes = {key: cfg.model[key] for key in ("d_model", "n_layers", "n_heads", "d_ff", "context_length")}
    with torch.device(device):
        return Transformer(vocab_size=cfg.tokenizer.vocab_size, **sizes, **parts(cfg), seed=cfg.seed)


def shape_of(cfg: DictConfig) -> Shape:
    """The sizes that the closed formulas for parameters and FLOPs need, asked of one block without storage."""
    model, part = cfg.model, parts(cfg)
    with torch.device("meta"):
        pos = part["pos"](model.d_model, model.n_heads, model.context_length)
        attn = CausalSelfAttention(model.d_model, model.n_heads, pos)
        block = part["norm"](model.d_model, attn, part["act"](model.d_model, model.d_ff))
        head = part["tying"](Embedding(1, 1))
    return Shape(
        vocab_size=cfg.tokenizer.vocab_size,
        d_model=model.d_model,
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        d_ff=model.d_ff,
        context_length=model.context_length,
        mlp_matrices=block.mlp.matrices,
        tied=head.tied,
        learned_positions=numel(pos) > 0,
        norm_params=numel(block.norm_1),
        final_norm=numel(block.final_norm()) > 0,
    )


def numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def facts(cfg: DictConfig) -> dict[str, Any]:
    """What run.json says about a run beyond its identity: sizes, cost and the choices that it stands for."""
    shape = shape_of(cfg)
    return {
        "parameters": shape.parameters(),
        "flops_per_token": shape.flops_per_token(),
        "tokens": cfg.train.max_steps * cfg.train.batch_size * cfg.model.context_length,
        "choices": choices(),
    }


def identity(cfg: DictConfig, fingerprint: str, code_version: int) -> dict[str, Any]:
    """Everything that the run's numbers depend on."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    config = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    config["train"] = {key: value for key, value in config["train"].items() if key not in NOT_IDENTITY_TRAIN}
    return {"config": config, "data_fingerprint": fingerprint, "code_version": code_version}


def label(cfg: DictConfig) -> str:
    """A run's name for people: what its groups chose, and the seed."""
    names = [cfg.model[slot]["_target_"].rsplit(".", 1)[-1].lower() for slot in ("norm", "pos", "act", "tying", "init")]
    return "-".join([*names, f"s{cfg.seed}"])


def choices() -> dict[str, str]:
    """The group choices of this job, such as {"model/pos": "rope"}; empty outside a Hydra job."""
    if not HydraConfig.initialized():
        return {}
    chosen = HydraConfig.get().runtime.choices
    return {key: str(value) for key, value in chosen.items() if not key.startswith("hydra/") and value is not None}


def device_of(name: str) -> torch.device:
    """`train.device`: auto takes a GPU where there is one. Raises UserError for a device that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda") or (name.startswith("cuda") and not torch.cuda.is_available()):
        raise UserError(f"train.device={name} is not on this machine: choose auto, cpu or, with a GPU, cuda.")
    return torch.device(name)


def cores() -> int:
    """Threads that this process may have: what its launcher has set, else the processors that it may use."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        return int(threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
