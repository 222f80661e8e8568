"""What a config from somebody else may do: build classes of ours, and nothing else.

Hydra calls whatever `_target_` names, anywhere in a config, and some of it before our code runs: callbacks,
launcher, sweeper, log handlers.
"""

import functools
import importlib
import re
from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from lmablate.errors import UserError

PACKAGES = ("data", "diagnostics", "matching", "model", "tracking")
"""Where the classes are that a config chooses from. Others of ours write files, or start processes."""
TARGET = re.compile(rf"(lmablate\.(?:{'|'.join(PACKAGES)})(?:\.\w+)*)\.(\w+)", re.ASCII)
CALLBACKS = {"failures": {"_target_": "lmablate.cli.SayFailures"}}


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` at any depth of `node`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets(child)


def is_ours(target: str) -> bool:
    """Whether `target` names a class that a module of PACKAGES defines, or offers from another of ours.

    A path that leads on through a module's imports, such as lmablate.model.init.math.exp, does not.
    """
    if not (match := TARGET.fullmatch(target)):
        return False
    try:
        found = getattr(importlib.import_module(match[1]), match[2], None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__.startswith("lmablate.")


def refuse_foreign(node: Any) -> None:
    """Raises UserError for a `_target_`, at any depth of a plain container, that is no class of ours."""
    for target in targets(node):
        if not is_ours(target):
            raise UserError(
                f"_target_={target} is refused: a config may only build classes that lmablate defines for it, "
                f"in lmablate.{', '.join(PACKAGES)}."
            )


def guard_hydra() -> None:
    """Has Hydra's every config checked before Hydra builds anything of it."""
    load = ConfigLoaderImpl.load_configuration

    @functools.wraps(load)
    def checked(*arguments: Any, **options: Any) -> DictConfig:
        cfg = load(*arguments, **options)
        refuse_unsafe(cfg)
        return cfg

    ConfigLoaderImpl.load_configuration = checked
    for resolver in ("oc.decode", "oc.create"):  # they make nodes out of text, which could hold a `_target_`
        OmegaConf.clear_resolver(resolver)


def refuse_unsafe(cfg: DictConfig) -> None:
    """Raises UserError where composing has brought in what Hydra would call. Nothing is resolved for the check."""
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    hydra = raw.pop("hydra")
    refuse_foreign(raw)
    callbacks = hydra["callbacks"]
    if not isinstance(callbacks, dict) or not callbacks.items() <= CALLBACKS.items():
        raise UserError("hydra.callbacks is refused: a config may not have Hydra call anything.")
    for key in ("launcher", "sweeper"):  # Hydra itself sees to it that these are launchers and sweepers
        if isinstance(hydra[key], dict) and (nested := next(targets([*hydra[key].values()]), None)):
            raise UserError(f"_target_={nested} in hydra.{key} is refused: a config may only build our classes.")
    for key in ("job_logging", "hydra_logging"):
        if not isinstance(hydra[key], dict) or hydra[key].get("root") is not None:
            raise UserError(f"hydra.{key} is refused: lmablate logs by itself, and a handler could be anything.")
    if hydra["job"]["env_set"]:
        raise UserError("hydra.job.env_set is refused: set environment variables in your shell.")
