"""Stacks: several choices under one name, and the arms that leave one of them out or take one alone.

A file such as conf/stack/modern.yaml overrides options of groups. For each of them Hydra gets two more options of the
group `stack`, which nobody has to write:

    modern_without_qk_norm    the stack without that choice
    modern_only_qk_norm       that choice alone
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from lmablate.config.project import yaml_files
from lmablate.errors import UserError
from lmablate.files import read_yaml

_OVERRIDE = "override /"


def register_stacks() -> None:
    """Give Hydra the options that follow from the files of the group `stack`, the user's own among them."""
    ConfigStore.instance().repo.pop("stack", None)  # those of another project, in the same process
    for stack, path in yaml_files("stack").items():
        for suffix, node in _arms(path, path.stat().st_mtime_ns).items():
            _store(f"{stack}_{suffix}", node)


@lru_cache(maxsize=128)  # a sweep composes as many configs as it has jobs
def _arms(path: Path, changed: int) -> dict[str, Any]:
    """Return the configs that follow from a stack's file, by the end of their name; none if it is no stack.

    Args:
        path: the file.
        changed: the time of its last change; what was read before is not valid after it.
    """
    arms = {}
    with suppress(OSError, ValueError, UserError, yaml.YAMLError):  # whoever chooses the stack is told
        read_yaml(path)  # refuses what is too large or too deep
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        for group in _choices(content):
            (alone,) = (entry for entry in content["defaults"] if _OVERRIDE + group in entry)
            others = [entry for entry in content["defaults"] if entry is not alone]
            short = group.rsplit("/", 1)[-1]
            arms |= {f"without_{short}": {**content, "defaults": others}, f"only_{short}": {"defaults": [alone]}}
    return arms


def _store(name: str, node: Any) -> None:
    ConfigStore.instance().store(group="stack", name=name, node=node, package="_global_", provider="stacks")


def _choices(content: Any) -> list[str]:
    """Return the groups whose options a stack overrides, in order; what is no stack has none."""
    defaults = content.get("defaults") if isinstance(content, dict) else None
    entries = [entry for entry in defaults if isinstance(entry, Mapping)] if isinstance(defaults, list) else []
    keys = [str(key) for entry in entries for key in entry]
    return [key.removeprefix(_OVERRIDE) for key in keys if key.startswith(_OVERRIDE)]
