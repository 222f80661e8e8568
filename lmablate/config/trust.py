"""The classes that a config may name: lmablate's own, and no others.

A config may come from somebody else. Hydra calls whatever `_target_` names, anywhere in a config, and calls some of it
before our code runs: callbacks, launcher, sweeper, log handlers. So `hydra_patches.check_every_config` passes every
composed config to `refuse_unsafe_config`.
"""

import importlib
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lmablate.errors import UserError

# The modules of lmablate whose classes a config may choose. Classes of other modules write files or start processes.
MODULES = ("data", "diagnostics", "model", "training.tracking")
TARGET = re.compile(
    rf"(lmablate\.(?:{'|'.join(map(re.escape, MODULES))})(?:\.\w+)*)\.(\w+)",
    re.ASCII,
)
# The only callbacks that a config may have; conf/config.yaml names them.
CALLBACKS = {"failures": {"_target_": "lmablate.config.hydra_entry.ReportFailures"}}


def refuse_foreign_classes(node: Any) -> None:
    """Refuse a `_target_`, at any depth of a plain container, that is not one of lmablate's classes.

    Raises:
        UserError: if there is one; the message names it and what is allowed.
    """
    for target in _targets(node):
        if not is_our_class(target):
            raise UserError(
                f"_target_={target} is refused: a config may only build classes that lmablate defines for it, "
                f"in lmablate.{', '.join(MODULES)}."
            )


def refuse_unsafe_config(cfg: DictConfig) -> None:
    """Refuse a composed config in which Hydra would call anything but lmablate's classes.

    No interpolation is resolved for the check.

    Args:
        cfg: the config with its `hydra` node.

    Raises:
        UserError: if there is such a call; the message names the key.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    hydra = raw.pop("hydra")
    refuse_foreign_classes(raw)
    callbacks = hydra["callbacks"]
    if not isinstance(callbacks, dict) or not callbacks.items() <= CALLBACKS.items():
        raise UserError("hydra.callbacks is refused: a config may not have Hydra call anything.")
    for key in ("launcher", "sweeper"):  # Hydra itself checks that these are launchers and sweepers
        if isinstance(hydra[key], dict) and (nested := next(_targets([*hydra[key].values()]), None)):
            raise UserError(f"_target_={nested} in hydra.{key} is refused: a config may only name lmablate's classes.")
    for key in ("job_logging", "hydra_logging"):
        if not isinstance(hydra[key], dict) or hydra[key].get("root") is not None:
            raise UserError(f"hydra.{key} is refused: lmablate configures logging itself; a handler may run any code.")
    if hydra["job"]["env_set"]:
        raise UserError("hydra.job.env_set is refused: set environment variables in your shell.")


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` at any depth of `node`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)


def is_our_class(target: str) -> bool:
    """Return whether `target` names a class that one of MODULES defines, or imports from another module of lmablate.

    A path through a module's imports, such as lmablate.model.init.math.exp, does not count.
    """
    if not (match := TARGET.fullmatch(target)):
        return False
    try:
        found = getattr(importlib.import_module(match[1]), match[2], None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__.startswith("lmablate.")
