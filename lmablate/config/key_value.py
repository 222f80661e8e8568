"""KEY=VALUE arguments of the commands that do not need Hydra, described by a dataclass.

@dataclass
class Arguments:
    '''Draw figures.'''

    experiment: Annotated[str, "one experiment, or all"] = "all"

arguments = parse(["experiment=llama"], Arguments)
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from lmablate.config.console import COMMON_FLAGS, asks_for_help, command_ending, docstring_of, typed_arguments
from lmablate.config.credentials import refuse_typed_secrets
from lmablate.config.project import default_path, take_config_dir, take_trust
from lmablate.errors import UserError
from lmablate.files import user_path

Spec = TypeVar("Spec")
BOOLEANS = {"true": True, "false": False}
# Numbers as they are written everywhere. Python's own rules accept more: `1_0` is 10, `１` is 1, and `nan` is a number.
NUMBERS = {
    int: re.compile(r"[+-]?[0-9]+"),
    float: re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}
# The largest whole number, in either direction: what a column of a table or of an array holds.
LARGEST = 2**63 - 1
# How a message names the values of a type.
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a command.

    Attributes:
        name: the key as it is typed.
        kind: the type of its values.
        help: its meaning.
        default: the value if the key is not given; dataclasses.MISSING if the key is required.
    """

    name: str
    kind: Any
    help: str
    default: Any


def _keys_of(spec: type) -> dict[str, Key]:
    """Return the fields of `spec` by name, each annotated `Annotated[type, "its meaning"]`."""
    hints = typing.get_type_hints(spec, include_extras=True)
    keys = {}
    for field in dataclasses.fields(spec):
        kind, meaning = typing.get_args(hints[field.name])
        keys[field.name] = Key(field.name, kind, meaning, field.default)
    return keys


def parse(argv: Sequence[str], spec: type[Spec]) -> Spec:
    """Parse `argv` into an instance of the dataclass `spec`.

    Args:
        argv: arguments of the form KEY=VALUE.
        spec: its fields are of type str, int, float, bool, Path or Literal, or of one of these or None (typed `null`).

    Raises:
        UserError: if a key is unknown, repeated or missing, or if a value has the wrong type.
    """
    keys = _keys_of(spec)
    values: dict[str, Any] = {}
    for text in argv:
        name, equals, value = text.partition("=")
        if not equals or name not in keys:
            raise UserError(_unknown_key(text, name, list(keys)))
        if name in values:
            raise UserError(f"{name} is given twice: {text} comes after {name}={_as_typed(values[name])}.")
        values[name] = _convert(name, value, keys[name].kind)
    for name, key in keys.items():
        if name not in values and key.default is dataclasses.MISSING:
            raise UserError(f"{name}=... is missing: {key.help}.")
        if name not in values and isinstance(key.default, Path):
            values[name] = default_path(key.default)
    return spec(**values)


def _unknown_key(text: str, name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}=...? The keys are" if close else "the keys are"
    return f"{text!r} is not a KEY=VALUE that this command knows: {hint} {', '.join(names)}."


def _convert(name: str, text: str, kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        if text == "null":
            return None
        (kind,) = (option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is Literal:
        if text not in typing.get_args(kind):
            raise UserError(f"{name}={text} is not allowed: choose one of {', '.join(typing.get_args(kind))}.")
        return text
    if kind is Path:
        return user_path(name, text)
    if kind is str:
        return text
    try:
        if kind in NUMBERS and not NUMBERS[kind].fullmatch(text):
            raise ValueError
        value = BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UserError(f"{name}={text} is not allowed: it must be {TYPE_NAMES[kind]}.") from None
    if kind is int and abs(value) > LARGEST:
        raise UserError(f"{name}={text} is not allowed: the largest whole number is {LARGEST}.")
    return value


def _usage(program: str, spec: type, task: Callable[..., Any]) -> str:
    """Return the text of --help: the keys, their meaning and their defaults."""
    lines = [docstring_of(task, spec.__name__), "", f"  python -m {program} [KEY=VALUE ...]", ""]
    for key in _keys_of(spec).values():
        default = "required" if key.default is dataclasses.MISSING else f"default {_as_typed(key.default)}"
        lines.append(f"  {key.name:<14}{key.help} ({default})")
    return "\n".join(lines)


def _as_typed(value: Any) -> str:
    """Return `value` as a user would type it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_key_value_command(program: str, spec: type[Spec], task: Callable[[Spec], Any]) -> None:
    """Run `task` as a command over the arguments that `spec` describes.

    After a mistake by the user, or an error of the file system, the process prints one sentence and ends with exit
    code 2.

    Args:
        program: the command's module, such as "lmablate.export".
        spec: the dataclass of its arguments.
        task: called with the parsed arguments.
    """
    argv = typed_arguments()
    with command_ending():
        if asks_for_help(argv):
            print(f"{_usage(program, spec, task)}\n\n{COMMON_FLAGS}")
            return
        refuse_typed_secrets(argv)
        task(parse(take_config_dir(take_trust(argv)), spec))
