"""The options of the model's groups, read back from the classes that they stand for."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from lmablate.config.schema import CONF, MODEL_GROUPS

LABEL = re.compile(r"^" + "-".join(rf"(?P<{slot}>\w+)" for slot in MODEL_GROUPS) + r"-s(?P<seed>\d+)-[0-9a-f]{10}$")
NAME = re.compile(r"^(?P<variant>.+?)[-_ ]s(?:eed)?[-_ ]?(?P<seed>\d+)$")


@cache
def options(slot: str) -> dict[str, str]:
    """Class, in lower case, -> option of model/`slot`: {"prenorm": "pre", ...}."""
    paths = sorted((CONF / "model" / slot).glob("*.yaml"))
    return {_class_of(yaml.safe_load(path.read_text())): path.stem for path in paths}


def _class_of(node: Any) -> str:
    target = node.get("_target_", "") if isinstance(node, Mapping) else ""
    return str(target).rsplit(".", 1)[-1].lower()


def choices_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The group choices behind a config, such as {"model/pos": "rope"}, for sources that do not note them."""
    classes = {slot: _class_of(config["model"].get(slot)) for slot in MODEL_GROUPS}
    return {f"model/{slot}": options(slot).get(name, name) for slot, name in classes.items() if name}


def choices_of_name(name: str) -> tuple[dict[str, str], int]:
    """Choices and seed from a run's name: our label, or any name, whose end -s3 or _seed3 is the seed."""
    if label := LABEL.match(name):
        return {f"model/{slot}": options(slot).get(label[slot], label[slot]) for slot in MODEL_GROUPS}, int(
            label["seed"]
        )
    if match := NAME.match(name):
        return {"variant": match["variant"]}, int(match["seed"])
    return {"variant": name}, 0
