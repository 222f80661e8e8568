"""`key=value` arguments of the entry points that are no training configs, described by a dataclass.

@dataclass
class Arguments:
    '''Draw figures.'''
    experiment: str = argument("all", "the experiment's name")

arguments = parse(["experiment=llama"], Arguments)
"""

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from lmablate.errors import UserError

Spec = TypeVar("Spec")
BOOLEANS = {"true": True, "false": False}
WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


REQUIRED: Any = dataclasses.MISSING


def argument(default: Any, help: str) -> Any:
    """A dataclass field with its sentence for --help; `default` is `REQUIRED` where there is none."""
    if default is REQUIRED:
        return dataclasses.field(metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


def parse(argv: Sequence[str], spec: type[Spec]) -> Spec:
    """`argv` as an instance of the dataclass `spec`, whose fields are str, int, float, bool, Path or Literal,
    or one of these or None (typed `null`).

    Raises UserError for an unknown or repeated key, a value of the wrong kind, and a missing key.
    """
    fields = {field.name: field for field in dataclasses.fields(spec)}  # pyright: ignore[reportArgumentType]
    kinds = typing.get_type_hints(spec)
    values: dict[str, Any] = {}
    for text in argv:
        key, equals, value = text.partition("=")
        if not equals or key not in fields:
            raise UserError(unknown(text, key, list(fields)))
        if key in values:
            raise UserError(f"{key} is given twice: {key}={value} comes after {key}={values[key]}.")
        values[key] = convert(key, value, kinds[key])
    for name, field in fields.items():
        if name not in values and field.default is REQUIRED and field.default_factory is REQUIRED:
            raise UserError(f"{name} is missing: give {name}=..., {field.metadata['help']}.")
    return spec(**values)


def unknown(text: str, key: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(key, keys, n=1)
    hint = f"did you mean {close[0]}=...? The keys are" if close else "the keys are"
    return f"{text!r} is no KEY=VALUE that this command knows: {hint} {', '.join(keys)}."


def convert(key: str, text: str, kind: Any) -> Any:
    """`text` as a `kind`. Raises UserError with what is allowed."""
    if isinstance(kind, types.UnionType):
        (kind,) = (option for option in typing.get_args(kind) if option is not type(None))
        if text == "null":
            return None
    allowed: Sequence[str] = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    if allowed:
        if text not in allowed:
            raise UserError(
                f"{key}={text} is not allowed: choose {', '.join(allowed[:-1])} or {allowed[-1]}."
            )
        return text
    try:
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UserError(f"{key}={text} is not allowed: it must be {WORDS[kind]}.") from None


def usage(program: str, spec: type) -> str:
    """What --help prints: the keys, their meaning and their defaults."""
    lines = [f"{(spec.__doc__ or '').strip()}", "", f"  python -m {program} [KEY=VALUE ...]", ""]
    for field in dataclasses.fields(spec):
        default = "required" if field.default is REQUIRED else shown(field.default)
        lines.append(f"  {field.name:<14}{field.metadata['help']} ({default})")
    return "\n".join(lines)


def shown(default: Any) -> str:
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def run(
    program: str, spec: type[Spec], task: Callable[[Spec], Any], argv: Sequence[str] | None = None
) -> None:
    """`task` as a command line program over the arguments of `spec`; a user's mistake ends it with exit code 2."""
    argv = sys.argv[1:] if argv is None else argv
    if {"--help", "-h"} & {*argv}:
        print(usage(program, spec))
        return
    try:
        task(parse(argv, spec))
    except UserError as error:
        sys.exit(complain(str(error)))
    except OSError as error:
        sys.exit(complain(f"{error.filename or 'a file'}: {error.strerror or error}."))


def complain(message: str) -> int:
    print(f"lmablate: {message}", file=sys.stderr)
    return 2
