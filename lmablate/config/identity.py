"""The identity of a run, its readable label, and the facts that run.json records beside them."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lmablate.config import schema
from lmablate.config.build import model_shape
from lmablate.config.sources import class_fingerprints


def run_identity(cfg: DictConfig, data_fingerprint: str, code_version: int) -> dict[str, Any]:
    """Return everything that the run's numbers depend on. The run's id is its hash.

    If the config names classes of the user's own, a fingerprint of their code is a part of it.

    Args:
        cfg: the resolved config.
        data_fingerprint: the fingerprint of the text, from `prepare_data`.
        code_version: `CODE_VERSION` of lmablate.runs.run.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    neutral = [key for key, value in schema.NEUTRAL.items() if _at(config, key) == value]
    for key in (*schema.NOT_IDENTITY, *neutral):
        path, _, last = key.rpartition(".")
        (_at(config, path) if path else config).pop(last, None)
    identity = {"config": config, "data_fingerprint": data_fingerprint, "code_version": code_version}
    own_code = class_fingerprints(config)
    return {**identity, "own_code": own_code} if own_code else identity


def run_label(cfg: DictConfig) -> str:
    """Return the readable part of a run's id: the classes that its model groups chose, and the seed."""
    named = [*schema.LABEL_GROUPS, *(group for group in schema.ADDED_GROUPS if not _is_neutral(cfg, f"model.{group}"))]
    targets = [cfg.model[group]["_target_"] for group in named]
    return "-".join([*(target.rsplit(".", 1)[-1].lower() for target in targets), f"s{cfg.seed}"])


def _is_neutral(cfg: DictConfig, key: str) -> bool:
    return OmegaConf.to_container(OmegaConf.select(cfg, key), resolve=True) == schema.NEUTRAL[key]


def _at(config: Any, key: str) -> Any:
    """Return the value of a dotted key in a nested config; None if it is not there."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def run_facts(cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Any]:
    """Return what run.json records beside the identity: sizes, cost, and group choices.

    Args:
        cfg: the resolved config.
        choices: the chosen option of each group, from `group_choices`.
    """
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
