"""The keys of the config: their types, defaults and ranges, and which of them make up a run's identity.

Groups are typed `Any`, because their yaml names the class (`_target_`). Only dataclasses are defined here, so reading
the schema needs neither torch nor Hydra.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

# The yaml files of lmablate: a part of the installed package, or, in a checkout, a folder beside it.
_HERE = Path(__file__).resolve()
CONF = next(path for path in (_HERE.parents[1] / "conf", _HERE.parents[2] / "conf") if path.is_dir())

# The groups of the model, in the order in which a run's label names them: always, or if the choice is not `NEUTRAL`.
LABEL_GROUPS = ("norm", "pos", "act", "tying", "init")
ADDED_GROUPS = (
    "attn", "qk_norm", "values", "scores", "gate", "mixer", "residual", "logits", "bias", "dropout",
    "scaling",
)  # fmt: skip
MODEL_GROUPS = LABEL_GROUPS + ADDED_GROUPS
MODEL_SIZES = ("d_model", "n_layers", "n_heads", "d_ff", "context_length")


@dataclass
class ModelConfig:
    """Sizes of the Transformer, and one class for each thing that an ablation changes.

    Attributes:
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads of a block; divides d_model.
        d_ff: width of the MLP; `match` may replace it.
        context_length: tokens of a training sequence.
        norm: placement and kind of the norms.
        pos: position scheme.
        act: the MLP with its activation.
        tying: whether the output matrix is the token embedding.
        init: initialisation scheme.
        attn: the attention layer: how many heads keys and values have, how far a token looks.
        qk_norm: norms of queries and keys.
        values: the layer's own values, or a mix with the first layer's.
        scores: a cap on the attention scores.
        gate: what scales the heads' outputs.
        mixer: what mixes neighbouring tokens before attention.
        residual: how a branch joins the residual stream.
        logits: a cap on the logits.
        bias: which linear layers have a bias.
        dropout: what is dropped in training.
        scaling: how initialisation, learning rates and scores depend on the width.
    """

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
    attn: Any = MISSING
    qk_norm: Any = MISSING
    values: Any = MISSING
    scores: Any = MISSING
    gate: Any = MISSING
    mixer: Any = MISSING
    residual: Any = MISSING
    logits: Any = MISSING
    bias: Any = MISSING
    dropout: Any = MISSING
    scaling: Any = MISSING


@dataclass
class TokenizerConfig:
    """Size of the byte-level BPE tokenizer.

    Attributes:
        vocab_size: number of tokens, <|endoftext|> included.
    """

    vocab_size: int = MISSING


@dataclass
class OptimConfig:
    """The optimizer, and the arguments that it shares with others; those of `learning_rate` and `clip_grad_norm_`.

    Attributes:
        algorithm: the optimizer, with the arguments that it alone has.
        decay: the kind of weight decay.
        average: the average of the weights by which the run is judged.
        lr: the highest learning rate.
        min_lr: the learning rate of the last step; null stands for lr / 10.
        warmup_steps: steps over which the learning rate rises to lr.
        betas: decay rates of the two moments, in an algorithm like AdamW.
        eps: added to the denominator of an algorithm like AdamW.
        weight_decay: how much matrices decay; vectors do not.
        grad_clip: largest joint 2-norm of the gradient; .inf switches clipping off.
    """

    algorithm: Any = MISSING
    decay: Any = MISSING
    average: Any = MISSING
    lr: float = 1e-3
    min_lr: float | None = None
    warmup_steps: int = 100
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    eps: float = 1e-8
    weight_decay: float = 0.1
    grad_clip: float = 1.0


@dataclass
class TrainConfig:
    """Length of training, batch size, intervals, and where to compute.

    Attributes:
        max_steps: number of updates.
        batch_size: sequences per update, over all processes.
        log_every: steps between rows of metrics; a step with an evaluation has a row too.
        eval_every: steps between evaluations; the last step is evaluated too.
        eval_batches: batches of validation text per evaluation.
        final_eval_batches: batches of validation text for the loss at the end, by which arms are compared; null is the
            whole file, 0 is none.
        checkpoint_every: steps between checkpoints; the last step is saved too.
        keep_checkpoints: newest checkpoints to keep; the best one is kept too.
        device: auto, cpu or cuda.
        precision: fp32 or bf16.
        compile: whether to use torch.compile.
        branch_from: id of a longer run whose checkpoint this run begins with; null begins at step 0.
        threads: torch's threads per process; 0 takes OMP_NUM_THREADS if that is set, else one per core.
    """

    max_steps: int = 1000
    batch_size: int = 32
    log_every: int = 1
    eval_every: int = 100
    eval_batches: int = 8
    final_eval_batches: int | None = None
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    device: str = "auto"
    precision: str = "fp32"
    compile: bool = False
    threads: int = 1
    branch_from: str | None = None


@dataclass
class Config:
    """Everything that a run depends on.

    Attributes:
        name: the experiment that the run belongs to.
        seed: of the weights and the order of the batches.
        model: sizes and variants of the model.
        tokenizer: size of the tokenizer.
        data: the corpus.
        optim: optimizer, learning rate, weight decay, clipping.
        schedule: the learning rate after warm-up.
        loss: what is minimised.
        train: length, intervals, hardware.
        match: what arms are made equal in, parameters or FLOPs, by solving for d_ff; or nothing.
        tuned: each arm's own learning rate and the like, from a pilot; null for those of the config.
        tracking: a mirror of the metrics, such as wandb.
        diagnostics: probes, which measure the model during training.
        scale: values that experiments interpolate, such as the grid of learning rates; training does not read them.
        runs_dir: the folder of all runs.
        data_dir: the folder of all prepared data.
        skip_failed: whether to skip a run that failed before instead of trying it again.
    """

    name: str = "adhoc"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: Any = MISSING
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: Any = MISSING
    loss: Any = MISSING
    train: TrainConfig = field(default_factory=TrainConfig)
    match: Any = MISSING
    tuned: Any = None
    tracking: Any = MISSING
    diagnostics: Any = MISSING
    scale: Any = None
    runs_dir: str = "${in_project:runs}"
    data_dir: str = "${in_project:data}"
    skip_failed: bool = False


# Keys that are not part of a run's id. They leave the computation as it is, except that train.device and train.threads
# may change the last bits of a result. The id has the fingerprint of the text instead of `data`, the d_ff that was
# found instead of `match`, and the values that were tuned instead of `tuned`.
NOT_IDENTITY = (
    "name",
    "data",
    "match",
    "tuned",
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

# The values that leave a run as it was before their key existed. A key with its neutral value is no part of a run's id,
# so a new group changes no id of the runs that do not use it.
NEUTRAL: dict[str, Any] = {
    f"model.{group}": {"_target_": f"lmablate.model.{name}", "_partial_": True}
    for group, name in {
        "attn": "CausalSelfAttention",
        "qk_norm": "NoQKNorm",
        "values": "PlainValues",
        "scores": "PlainScores",
        "gate": "NoGate",
        "mixer": "NoMixer",
        "residual": "Plain",
        "logits": "PlainLogits",
        "bias": "NoBias",
        "dropout": "NoDropout",
        "scaling": "Standard",
    }.items()
} | {
    "optim.algorithm": {"_target_": "lmablate.training.AdamW", "_partial_": True},
    "optim.decay": {"_target_": "lmablate.training.Decoupled"},
    "train.branch_from": None,
    "train.final_eval_batches": None,
    "optim.average": {"_target_": "lmablate.training.NoAverage"},
    "schedule": {"_target_": "lmablate.training.Cosine"},
    "loss": {"_target_": "lmablate.model.CrossEntropy"},
}

# What a run hands to the constructor of its algorithm: the groups of parameters, the values beside the algorithm in
# `optim`, and the kind of decay.
OF_ALGORITHMS = ("params", "lr", "betas", "eps", "weight_decay", "decay")

# The smallest value that is allowed, by key.
AT_LEAST: dict[str, float] = {
    **{f"model.{key}": 1 for key in MODEL_SIZES},
    **{f"train.{key}": 1 for key in ("max_steps", "batch_size", "log_every", "eval_every", "eval_batches")},
    "train.checkpoint_every": 1,
    "train.final_eval_batches": 0,
    "train.keep_checkpoints": 2,
    "train.threads": 0,
    **{f"optim.{key}": 0 for key in ("lr", "warmup_steps", "weight_decay", "eps")},
}
# The smallest and the largest vocabulary: the 256 bytes and one special token; what uint16 holds.
VOCAB_SIZES = (257, 65_536)
# The smallest and the largest seed, for training as for generating: what the tables hold in a column of int64.
SEEDS = (0, 2**63 - 1)
# Values of train.precision.
PRECISIONS = ("fp32", "bf16")
# Values of train.device. Whether this machine has the device is checked where it is used.
DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?")
# Keys that hold the path of a folder.
FOLDERS = ("runs_dir", "data_dir")


def _typed_keys(spec: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the type of every leaf of the schema."""
    for entry in fields(spec):
        if isinstance(entry.type, type) and is_dataclass(entry.type):
            yield from _typed_keys(entry.type, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, entry.type


def text_keys() -> set[str]:
    """Return the keys whose value is text, such as `name`."""
    return {key for key, kind in _typed_keys() if kind is str}


def strict_keys() -> dict[str, type]:
    """Return the type of every key for which OmegaConf would convert a wrong value silently: text and booleans."""
    return {key: kind for key, kind in _typed_keys() if kind in (str, bool)}
