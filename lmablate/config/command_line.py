"""Read the command line of a command that composes configs, by Hydra's own grammar.

All of these commands read it here, so what `train` accepts, `plan`, `audit`, `status` and `lr_sweep` accept too.
"""

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import InputStream, OverrideLexer

from lmablate.config import schema
from lmablate.config.project import conf_folders, typed_folder
from lmablate.config.suggest import close_to, describe_word
from lmablate.errors import UserError

# Tokens that Hydra parses as a boolean or a number, although an option or a name may look like that.
LOOKS_LIKE_A_VALUE = {OverrideLexer.BOOL, OverrideLexer.INT, OverrideLexer.FLOAT}
SEPARATORS = {
    OverrideLexer.COMMA, OverrideLexer.EQUAL, OverrideLexer.POPEN, OverrideLexer.PCLOSE, OverrideLexer.BRACKET_OPEN,
    OverrideLexer.BRACKET_CLOSE, OverrideLexer.BRACE_OPEN, OverrideLexer.BRACE_CLOSE,
}  # fmt: skip
# Characters by which a value may have parts.
STRUCTURE = set(",[]{}'\"\\$")
# What Hydra's --info shows.
INFO = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
# Functions of the grammar that sweep over the values in their parentheses.
SWEEPS = {"choice", "sort", "shuffle", "tag"}


@dataclass(frozen=True)
class CommandLine:
    """The arguments of a command that composes configs.

    Attributes:
        overrides: the overrides, quoted where Hydra would take a name for a number or a boolean.
        multirun: whether -m was typed.
        config_dir: the user's own folder of configs, absolute; None if there is none.
        config_path: a folder that replaces conf/, absolute; None if there is none.
        config_name: the primary config.
        shows: Hydra's flags that show something instead of running, with their values.
    """

    overrides: list[str]
    multirun: bool = False
    config_dir: str | None = None
    config_path: str | None = None
    config_name: str = "config"
    shows: list[str] = field(default_factory=list)

    def for_hydra(self) -> list[str]:
        """Return the arguments as Hydra wants them: all flags first, then the overrides."""
        flags = [*self.shows, *(["--multirun"] if self.multirun else [])]
        for flag in ("config_path", "config_name"):  # `conf_folders` has config_dir
            if value := getattr(self, flag):
                flags += ["--" + flag.replace("_", "-"), value]
        return [*flags, *self.overrides]

    def parsed(self) -> list[Override]:
        """Return the overrides as Hydra parses them."""
        return OverridesParser.create().parse_overrides(self.overrides)


class _Once(argparse.Action):
    """Stores a flag's value, and refuses a second one, which would replace it silently."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, values)


class _Flags(argparse.ArgumentParser):
    """Hydra's flags, with one sentence for a mistake."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("overrides", nargs="*")
        self.add_argument("-m", "--multirun", action="store_true")
        self.add_argument("-r", "--run", action="store_true")
        self.add_argument("-cd", "--config-dir", action=_Once)
        self.add_argument("-cp", "--config-path", action=_Once)
        self.add_argument("-cn", "--config-name", action=_Once)
        self.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], action=_Once)
        self.add_argument("-p", "--package", action=_Once)
        self.add_argument("-i", "--info", nargs="?", const="all", choices=INFO, action=_Once)
        for flags in (["--resolve"], ["--hydra-help"], ["-sc", "--shell-completion"], ["-h", "--help"]):
            self.add_argument(*flags, action="store_true")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"The command line cannot be read: {message}; --help shows what it may hold.")


def parse_command_line(arguments: Sequence[str], shows: bool = False) -> CommandLine:
    """Read the arguments of a command that composes configs; flags may stand anywhere among the overrides.

    Args:
        arguments: flags of Hydra, and overrides.
        shows: whether the command has Hydra's flags that show something instead of running, such as --cfg.

    Raises:
        UserError: if an argument cannot be read; the message names it.
    """
    parser = _Flags()
    typed, rest = parser.parse_known_intermixed_args(list(arguments))
    for argument in rest:
        raise UserError(_unknown_flag(argument, parser))
    flags = _show_flags(typed)
    if flags and not shows:
        raise UserError(f"{flags[0]} is a flag of lmablate.train; this command has its own --help.")
    text_keys = schema.text_keys()
    overrides = [_readable(override, _group_names(typed.config_dir), text_keys) for override in typed.overrides]
    folders = {
        key: value if value is None else typed_folder(key, value)
        for key, value in (("config_dir", typed.config_dir), ("config_path", typed.config_path))
    }
    line = CommandLine(
        overrides, typed.multirun, **folders, config_name=typed.config_name or CommandLine.config_name, shows=flags
    )
    _refuse_lost_sweeps(line.parsed())
    return line


def lone_word(arguments: Sequence[str]) -> str | None:
    """Return the argument that is neither a flag nor KEY=VALUE; None if there is none.

    Raises:
        UserError: if it is not the only argument.
    """
    typed, _ = _Flags().parse_known_intermixed_args(list(arguments))
    words = [argument for argument in typed.overrides if "=" not in argument and not argument.startswith("~")]
    if words and len(arguments) > 1:
        raise UserError(f"{words[0]!r} must be the only argument: other arguments are KEY=VALUE.")
    return words[0] if words else None


def take_switch(arguments: Sequence[str], key: str) -> tuple[bool, list[str]]:
    """Separate a command's own KEY=true or KEY=false, which is false by default, from the other arguments.

    Raises:
        UserError: if it is given twice, or has another value.
    """
    own, rest = take_own_arguments(arguments, {key: "false"})
    if own[key] not in ("true", "false"):
        raise UserError(f"{key}={own[key]} is not allowed: it must be true or false.")
    return own[key] == "true", rest


def take_own_arguments(arguments: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Separate a command's own KEY=VALUE arguments from the overrides.

    Args:
        arguments: the command line.
        defaults: the command's own keys, with their default values.

    Returns:
        The values of the command's own keys, and the other arguments.

    Raises:
        UserError: if a key is given twice.
    """
    own, rest = {}, []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in defaults:
            rest.append(argument)
        elif key in own:
            raise UserError(f"{key} is given twice: {argument} comes after {key}={own[key]}.")
        else:
            own[key] = value
    return {**defaults, **own}, rest


def _show_flags(typed: argparse.Namespace) -> list[str]:
    """Return Hydra's flags that show something, as they were typed."""
    flags = [f"--{name.replace('_', '-')}" for name in ("resolve", "hydra_help", "shell_completion")
             if getattr(typed, name)]  # fmt: skip
    flags += ["--run"] if typed.run and not typed.multirun else []
    for name in ("cfg", "package", "info"):
        if value := getattr(typed, name):
            flags += [f"--{name}={value}"]
    return flags if flags != ["--run"] else []


def _unknown_flag(argument: str, parser: argparse.ArgumentParser) -> str:
    flags = [flag for action in parser._actions for flag in action.option_strings]
    if "=" in argument:
        return f"{argument} is not a flag: overrides have no dashes, did you mean {argument.lstrip('-')}?"
    hint = close_to(argument, flags)
    return f"{argument} is not a flag" + (f": did you mean {hint}?" if hint else ": --help shows all.")


def _group_names(config_dir: str | None) -> set[str]:
    """Return the names of the groups at the top of conf/, and of the user's own folders."""
    folders = [*conf_folders(), *([Path(config_dir).expanduser()] if config_dir else [])]
    return {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}


def _readable(override: str, groups: set[str], text_keys: set[str]) -> str:
    """Return an override in a form that Hydra reads as it was meant.

    Raises:
        UserError: if Hydra's grammar does not accept it.
    """
    key = override.partition("=")[0].lstrip("+~").partition("@")[0]
    is_group = key in groups or ("/" in key and not key.startswith("hydra/"))
    if is_group or key in text_keys:
        override = _quote_names(override)
    try:
        parsed = OverridesParser.create().parse_override(override)
    except (HydraException, RecursionError) as error:
        if not _is_plain_text(override):
            raise UserError(_unreadable(override, error)) from None
        key, _, value = override.partition("=")
        return _readable(f"{key}={QuotedString(value, Quote.double).with_quotes()}", groups, text_keys)
    if not parsed.key_or_group:
        raise UserError(f"{override} has no key: an override is KEY=VALUE.")
    if is_group and isinstance(parsed.value(), list):
        raise UserError(f"{override} would merge the options of {key}: choose one; -m and commas make a sweep.")
    if is_group and _names_a_path(parsed):
        raise UserError(f"{override} is not allowed: an option has a name, which is no path.")
    if is_group and not parsed.is_delete() and not parsed.is_sweep_override() and parsed.value() is None:
        raise UserError(f"{override} is not allowed: ~{key} chooses no option of the group.")
    return override


def _names_a_path(parsed: Override) -> bool:
    """Return whether an option of a group is written as a path that leaves the group; Hydra would follow it."""
    value: Any = parsed.value()
    options = value.list if isinstance(value, ChoiceSweep) else [value]
    return any(str(option).startswith("/") or ".." in str(option).split("/") for option in options)


def _is_plain_text(override: str) -> bool:
    """Return whether a value that Hydra cannot read has none of the characters that give it parts: it is text then.

    So `runs_dir=~/a b (1)=c` needs no quotes but the shell's.
    """
    value = override.partition("=")[2]
    return value != "" and STRUCTURE.isdisjoint(value)


def _quote_names(override: str) -> str:
    """Quote the values of an override that look like numbers or booleans: `model/tying=true` -> `model/tying="true"`.

    Numbers inside `range(...)`, and arguments such as `reverse=true`, are left as they are.
    """
    quoted, done = "", 0
    for token in _lonely_values(override):
        quoted += override[done : token.start] + f'"{token.text}"'
        done = token.stop + 1
    return quoted + override[done:]


def _lonely_values(override: str) -> Iterator[Any]:
    """Yield the tokens that are a whole value each, and look like a number or a boolean."""
    lexer = OverrideLexer(InputStream(override))
    lexer.removeErrorListeners()
    tokens = [token for token in lexer.getAllTokens() if token.type != OverrideLexer.WS]
    calls: list[str] = []  # names of the functions whose parentheses are open
    in_value = False
    for i, token in enumerate(tokens):
        before, after = tokens[i - 1] if i else None, tokens[i + 1] if i + 1 < len(tokens) else None
        if token.type == OverrideLexer.EQUAL and not in_value:
            in_value = True
        elif token.type == OverrideLexer.POPEN:
            calls.append(before.text if before else "")
        elif token.type == OverrideLexer.PCLOSE and calls:
            calls.pop()
        alone = before and before.type in SEPARATORS and (after is None or after.type in SEPARATORS)
        is_argument = calls and (before is None or before.type == OverrideLexer.EQUAL)
        if in_value and alone and token.type in LOOKS_LIKE_A_VALUE and not is_argument and SWEEPS.issuperset(calls):
            yield token


def _unreadable(override: str, error: Exception) -> str:
    key, equals, value = override.partition("=")
    if not equals and not override.startswith("~"):
        return describe_word(override)
    reason = str(error).strip().splitlines()[0].strip() if str(error).strip() else type(error).__name__
    reason = reason.partition(" expecting ")[0]  # what follows are names of the grammar's tokens
    advice = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"{override} cannot be read ({reason}): put a value with special characters in quotes, {advice}."


def _refuse_lost_sweeps(overrides: Sequence[Override]) -> None:
    """Refuse a sweep that a later override of the same key would replace: fewer runs than were typed."""
    swept: dict[str, Override] = {}
    for override in overrides:
        key = override.get_key_element()
        if key in swept:
            raise UserError(f"{key} is given twice: {override.input_line} would replace {swept[key].input_line}.")
        if override.is_sweep_override():
            swept[key] = override
