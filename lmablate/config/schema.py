"""The keys of the config: their types, defaults and ranges, and which of them make up a run's identity.

Groups are typed `Any`: their yaml names the class (`_target_`). Only dataclasses are defined here, so that reading
the schema needs neither torch nor Hydra.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

CONF = Path(__file__).resolve().parents[2] / "conf"

# The groups of the model, in the order in which a run's label names them.
MODEL_GROUPS = ("norm", "pos", "act", "tying", "init")
MODEL_SIZES = ("d_model", "n_layers", "n_heads", "d_ff", "context_length")


@dataclass
class ModelConfig:
    """Sizes of the Transformer, and one class for each thing that an ablation changes."""

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
    """Size of the byte-level BPE vocabulary, <|endoftext|> included."""

    vocab_size: int = MISSING


@dataclass
class OptimConfig:
    """Arguments of `AdamW`, `cosine_schedule` and `clip_grad_norm_`. `min_lr=null` stands for lr / 10."""

    lr: float = 1e-3
    min_lr: float | None = None
    warmup_steps: int = 100
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    eps: float = 1e-8
    weight_decay: float = 0.1
    grad_clip: float = 1.0


@dataclass
class TrainConfig:
    """Length of training, batch size and intervals, in steps. `threads` is per process; 0 takes every core."""

    max_steps: int = 1000
    batch_size: int = 32
    log_every: int = 1
    eval_every: int = 100
    eval_batches: int = 8
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    device: str = "auto"
    precision: str = "fp32"
    compile: bool = False
    threads: int = 1


@dataclass
class Config:
    """Everything that a run depends on."""

    name: str = "adhoc"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: Any = MISSING
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    match: Any = MISSING
    tracking: Any = MISSING
    diagnostics: Any = MISSING
    scale: Any = None
    runs_dir: str = "runs"
    data_dir: str = "data"
    skip_failed: bool = False


# Keys that do not change what a run computes, and so are no part of its id. `data` counts by the fingerprint of its
# text, `match` by the d_ff that it found.
NOT_IDENTITY = (
    "name",
    "data",
    "match",
    "scale",
    "tracking",
    "runs_dir",
    "data_dir",
    "skip_failed",
    "train.device",
    "train.threads",
    "train.checkpoint_every",
    "train.keep_checkpoints",
)

# The smallest value that is allowed, by key.
AT_LEAST: dict[str, float] = {
    "seed": 0,
    **{f"model.{key}": 1 for key in MODEL_SIZES},
    **{f"train.{key}": 1 for key in ("max_steps", "batch_size", "log_every", "eval_every", "eval_batches")},
    "train.checkpoint_every": 1,
    "train.keep_checkpoints": 2,
    "train.threads": 0,
    **{f"optim.{key}": 0 for key in ("lr", "warmup_steps", "weight_decay")},
}
VOCAB_SIZES = (257, 65_536)  # the 256 bytes and one special token; what uint16 holds
