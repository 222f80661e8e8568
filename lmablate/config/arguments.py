"""Check what a config passes to a class, by the annotations of the class's constructor."""

import importlib
import inspect
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lmablate.errors import UserError

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text, in quotes", Path: "a path"}
# Keys of a node that are Hydra's own.
OF_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")


def check_arguments(key: str, node: Mapping[str, Any], bound: Collection[str] = ()) -> None:
    """Check the values that a node passes to the class that it names.

    Args:
        key: the node's dotted key.
        node: a plain mapping with `_target_`, which may be trusted.
        bound: arguments that the class is given by lmablate, and that a config may not give.

    Raises:
        UserError: if the class has no such argument, or if a value has the wrong type; the message names the key.
    """
    known, hints = _constructor(node["_target_"])
    known = [name for name in known if name not in bound]
    for name, value in node.items():
        if name in OF_HYDRA:
            continue
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes nothing"
            raise UserError(f"{key}.{name} is not an argument of {node['_target_']}: {takes}.")
        if not _accepts(hints.get(name, Any), value):
            raise UserError(f"{key}.{name}={value!r} is not allowed: it must be {_words(hints[name])}.")
        for inner_key, inner in _nested_nodes(f"{key}.{name}", value):
            check_arguments(inner_key, inner)


def _nested_nodes(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the outermost nodes in an argument that name a class themselves, each with its dotted key."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield key, value
    elif isinstance(value, Mapping | list):
        for name, child in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _nested_nodes(f"{key}.{name}", child)


def path_arguments(node: Mapping[str, Any]) -> list[str]:
    """Return the keys of a node that its class annotates as paths."""
    _, hints = _constructor(node["_target_"])
    return [name for name in node if Path in (hints.get(name), *typing.get_args(hints.get(name)))]


def _constructor(target: str) -> tuple[list[str], dict[str, Any]]:
    """Return the names of a class's arguments, and their types as far as they are annotated."""
    module, _, name = target.rpartition(".")
    constructor = getattr(importlib.import_module(module), name).__init__
    names = [name for name in inspect.signature(constructor).parameters if name != "self"]
    return names, typing.get_type_hints(constructor)


def _accepts(hint: Any, value: Any) -> bool:
    """Return whether a value of a config is of a type; a type that a config has no values of accepts all."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_accepts(option, value) for option in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if hint is types.NoneType:
        return value is None
    if hint not in WORDS:
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, {float: (int, float), Path: str}.get(hint, hint))


def _words(hint: Any) -> str:
    """Return a type in words."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        options = typing.get_args(hint)
        return " or ".join(_words(option) for option in options if option is not str or Path not in options)
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    return "null" if hint is types.NoneType else WORDS.get(hint, str(hint))
