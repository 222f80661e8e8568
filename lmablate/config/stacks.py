"""Stacks: several choices under one name, and the arms that leave one of them out or take one alone.

A file such as conf/stack/modern.yaml overrides options of groups. For each of them Hydra gets two more options of the
group `stack`, which nobody has to write:

    modern_without_qk_norm    the stack without that choice
    modern_only_qk_norm       that choice alone
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
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
    store_options("stack", "stack", _options)


def _options(stack: str, path: Path) -> dict[str, Any]:
    return {f"{stack}_{suffix}": node for suffix, node in _arms(path).items()}


# What was last stored of each group: its files, with the times of their last changes.
_stored: dict[str, dict[Path, int]] = {}


def store_options(group: str, folder: str, options_of: Callable[[str, Path], Mapping[str, Any]]) -> None:
    """Give Hydra options of a group that follow from files, unless it has those of these files already.

    Args:
        group: the group.
        folder: the files are those of this folder in the user's and in our own configs.
        options_of: returns the options of a file, by name, from the file's name and path.
    """
    files = yaml_files(folder)
    changed = {path: path.stat().st_mtime_ns for path in files.values()}
    repo = ConfigStore.instance().repo
    if _stored.get(group) == changed and group in repo:
        return
    repo.pop(group, None)  # those of another project, in the same process
    for name, path in files.items():
        for option, node in options_of(name, path).items():
            ConfigStore.instance().store(group=group, name=option, node=node, package="_global_", provider=folder)
    _stored[group] = changed


def _arms(path: Path) -> dict[str, Any]:
    """Return the configs that follow from a stack's file, by the end of their name; none if it is no stack."""
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


def _choices(content: Any) -> list[str]:
    """Return the groups whose options a stack overrides, in order; what is no stack has none."""
    defaults = content.get("defaults") if isinstance(content, dict) else None
    entries = [entry for entry in defaults if isinstance(entry, Mapping)] if isinstance(defaults, list) else []
    keys = [str(key) for entry in entries for key in entry]
    return [key.removeprefix(_OVERRIDE) for key in keys if key.startswith(_OVERRIDE)]
