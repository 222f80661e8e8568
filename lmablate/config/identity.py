"""What names a run: its identity, its label, and the facts recorded beside it."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lmablate.config import schema
from lmablate.config.build import model_shape


def run_identity(cfg: DictConfig, data_fingerprint: str, code_version: int) -> dict[str, Any]:
    """Return everything that the run's numbers depend on. The run's id is its hash."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in schema.NOT_IDENTITY:
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node.pop(last, None)
    return {"config": config, "data_fingerprint": data_fingerprint, "code_version": code_version}


def run_label(cfg: DictConfig) -> str:
    """Return the readable part of a run's id: the classes that its model groups chose, and the seed."""
    targets = [cfg.model[group]["_target_"] for group in schema.MODEL_GROUPS]
    return "-".join([*(target.rsplit(".", 1)[-1].lower() for target in targets), f"s{cfg.seed}"])


def run_facts(cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Any]:
    """Return what run.json records beyond the identity: sizes, cost, and the group choices of the command line."""
    shape = model_shape(cfg)
    return {
        "parameters": shape.parameters(),
        "flops_per_token": shape.flops_per_token(),
        "tokens": training_tokens(cfg),
        "choices": dict(choices),
    }


def training_tokens(cfg: DictConfig) -> int:
    """Return the number of tokens that a run trains on."""
    return cfg.train.max_steps * cfg.train.batch_size * cfg.model.context_length
