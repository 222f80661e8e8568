"""The options of the model's groups, found from the names of classes and runs."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lmablate.config.project import yaml_files
from lmablate.config.schema import ADDED_GROUPS, LABEL_GROUPS, MODEL_GROUPS, NEUTRAL
from lmablate.files import read_yaml

# A run's id: the classes of its groups, its seed and a hash. See `config.identity.run_label`.
_RUN_ID = re.compile(
    "-".join(rf"(?P<{group}>\w+)" for group in LABEL_GROUPS)
    + r"(?P<added>(?:-\w+)*?)-s(?P<seed>[0-9]{1,15})-[0-9a-f]{10}"
)
# Any other name that ends in a seed.
_NAME_AND_SEED = re.compile(r"(?P<variant>.+?)[-_ ]s(?:eed)?[-_ ]?(?P<seed>[0-9]{1,15})", re.DOTALL)


def class_options(group: str) -> dict[str, str]:
    """Return the option of each class of model/`group`, with the class in lower case: {"prenorm": "pre", ...}."""
    return _options_in(tuple(sorted(yaml_files(f"model/{group}").items())))


@cache
def _options_in(files: tuple[tuple[str, Path], ...]) -> dict[str, str]:
    return {_class_of(read_yaml(path)): option for option, path in files}


def _class_of(node: Any) -> str:
    target = node.get("_target_", "") if isinstance(node, Mapping) else ""
    return str(target).rsplit(".", 1)[-1].lower()


def choices_of_config(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the group choices behind a config, such as {"model/pos": "rope"}, for sources that do not record them."""
    nodes = {group: config["model"].get(group, NEUTRAL.get(f"model.{group}")) for group in MODEL_GROUPS}
    classes = {group: _class_of(node) for group, node in nodes.items()}
    return {f"model/{group}": class_options(group).get(name, name) for group, name in classes.items() if name}


def choices_of_name(name: str) -> tuple[dict[str, str], int]:
    """Return the choices and the seed in a run's name.

    Args:
        name: an id that lmablate made, or any other name. An end such as -s3 or _seed3 of the latter is the seed,
            and the rest is the choice of `variant`.
    """
    parts = _RUN_ID.fullmatch(name)
    if parts and (added := _added_choices(parts["added"])) is not None:
        choices = {f"model/{group}": class_options(group).get(parts[group], parts[group]) for group in LABEL_GROUPS}
        return choices | added, int(parts["seed"])
    if parts := _NAME_AND_SEED.fullmatch(name):
        return {"variant": parts["variant"]}, int(parts["seed"])
    return {"variant": name}, 0


def _added_choices(classes: str) -> dict[str, str] | None:
    """Return the choices of `ADDED_GROUPS`, whose classes a run's name has if they are not neutral, as "-a-b".

    None if a class is unknown, because it may be of any group.
    """
    names, choices = {*classes.split("-")} - {""}, {}
    for group in ADDED_GROUPS:
        options = class_options(group)
        named = next(iter(names & {*options}), _class_of(NEUTRAL[f"model.{group}"]))
        choices[f"model/{group}"] = options[named]
        names -= {named}
    return None if names else choices
