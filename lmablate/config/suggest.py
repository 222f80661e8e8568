"""Say what a user may have meant: keys, groups, options and commands."""

import difflib
import re
from collections.abc import Iterable, Sequence

from omegaconf import DictConfig, OmegaConf

from lmablate.config.project import conf_folders
from lmablate.errors import reason

# Hydra's messages about a key or an option that does not exist.
UNKNOWN_KEY = re.compile(r"^Could not (?:override|delete from config\.) '(?P<key>[^']+)'")
UNKNOWN_OPTION = re.compile(r"Could not (?:find|load) '(?P<group>[^']+)/(?P<option>[^'/]+)'")
ALREADY_THERE = re.compile(r"^Could not append to config\. An item is already at '(?P<key>[^']+)'")
AMBIGUOUS = re.compile(r"^Ambiguous value for argument '(?P<override>.+)'$", re.MULTILINE)
BAD_VALUE = re.compile(r"^Error merging override (?P<override>.+)$", re.MULTILINE)

# How OmegaConf names the key of an error, and Hydra the config in which it is.
FULL_KEY = re.compile(r"^ *full_key: *(?P<key>.*)$", re.MULTILINE)
IN_CONFIG = re.compile(r"^In '(?P<config>[^']+)': \w+ raised while composing config:\s*")
RESOLVING = re.compile(r"\w+ raised while resolving interpolation: ")

# How OmegaConf says that a value has the wrong type, and what we say.
RULES = {
    "could not be converted to Integer": "it must be a whole number",
    "could not be converted to Float": "it must be a number",
    "not Optional": "it must have a value",
    "is not a ListConfig": "it must be a list, such as [0.9,0.95]",
    "Cannot merge DictConfig with ListConfig": "it has keys, and is no list",
    "is not a subclass of": "it has keys of its own, of which you can set one",
}


def close_to(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` is a likely misspelling of, or the last part of; None if there is none."""
    known = {choice.lower(): choice for choice in choices}
    last = {re.split("[./]", low)[-1]: choice for low, choice in known.items()}
    for names, typed in ((known, word.lower()), (last, re.split("[./]", word.lower())[-1])):
        if found := difflib.get_close_matches(typed, list(names), n=1, cutoff=0.7):
            return names[found[0]]
    return None


def _options() -> dict[str, list[str]]:
    """Return the options of every group in conf/ and in the user's own folders, by group."""
    options: dict[str, list[str]] = {}
    for folder in conf_folders():
        for path in sorted(folder.rglob("*.yaml")):
            if path.parent != folder:
                options.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path.stem)
    return options


def describe_word(word: str) -> str:
    """Return the sentence about an argument without "=": an option whose group is missing, perhaps."""
    if not word.strip():
        return "An argument is empty: an override is KEY=VALUE."
    options = {option: group for group, names in reversed(_options().items()) for option in names if group != "claim"}
    option = close_to(word, options)
    hint = f"did you mean {options[option]}={option}?" if option else "--help lists the keys."
    shown = word if len(word) <= 80 else f"{word[:80]}..."
    return f"{shown!r} is not KEY=VALUE: {hint}"


def describe_composition(message: str, cause: str, cfg: DictConfig | None) -> str | None:
    """Return the sentence about overrides that do not compose; None if the message is not one of those known.

    Args:
        message: Hydra's message.
        cause: the message of the exception behind it; empty if there is none.
        cfg: the config without the overrides, whose keys may have been meant.
    """
    if match := UNKNOWN_KEY.match(message):
        inner = re.search(rf"full_key: ({re.escape(match['key'])}\S*)", cause)
        return _unknown_key((inner or match)[1].rstrip("."), cfg)
    if match := UNKNOWN_OPTION.search(message):
        return _unknown_option(match["group"], match["option"], message)
    if match := ALREADY_THERE.match(message):
        return f"{match['key']} is in the config already: leave out the +."
    if match := AMBIGUOUS.match(message):
        key, _, value = match["override"].partition("=")
        return f"{key}={value} has several values: -m makes a sweep of them, {key}=[{value}] a list."
    if (match := BAD_VALUE.match(message)) and cause:
        rule = next((words for sign, words in RULES.items() if sign in cause), cause[0].lower() + cause[1:].rstrip("."))
        return f"{match['override']} is not allowed: {rule}."
    return _describe_value(message, cfg) if FULL_KEY.search(message) else None


def _describe_value(message: str, cfg: DictConfig | None) -> str:
    """Return the sentence about a key of a yaml file, or about an interpolation."""
    where = f"In {match['config']}: " if (match := IN_CONFIG.match(message)) else ""
    text = RESOLVING.sub("", IN_CONFIG.sub("", message)).splitlines()[0].strip(' ."')
    key = FULL_KEY.findall(message)[-1]
    if text.startswith("Key ") and " not in " in text:
        return where + _unknown_key(key, cfg)
    rule = next((words for sign, words in RULES.items() if sign in text), None)
    if rule:
        if not key:  # of a node, OmegaConf says only what its value would be
            return f"{where}a value is not allowed: {rule} ({text})."
        value = re.match("Value '(.*)' of type ", text)
        return f"{where}{key}{'=' + value[1] if value else ''} is not allowed: {rule}."
    return f"{where}{key}{': ' if key else ''}{text}."


def describe_python_error(error: Exception) -> str:
    """Return the sentence about an error of Python's own, which Hydra raises for some mistakes in a yaml file."""
    if isinstance(error, TypeError | AttributeError | LookupError | AssertionError):
        return "A value is of a kind that Hydra does not take there, such as null for a section with keys."
    return reason(error)


def _unknown_key(key: str, cfg: DictConfig | None) -> str:
    groups = [group for group in _options() if group != "claim"]
    if "/" in key:
        return f"{key} is not a group{_did_you_mean(key, groups) or ': the groups are ' + ', '.join(groups) + '.'}"
    path, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, path) if cfg is not None and path else None
    if cfg is not None and isinstance(node, DictConfig):
        siblings = [str(sibling) for sibling in node if not str(sibling).startswith("_")]
        hint = _did_you_mean(last, siblings).replace("mean ", f"mean {path}.")
        elsewhere = [known for known in _keys_of(cfg) if known.endswith(f".{last}")]
        hint = hint or (f": did you mean {elsewhere[0]}?" if len(elsewhere) == 1 else "")
        there = f": {path} has {', '.join(siblings) or 'no keys'}."
        return f"{key} is not a key of the config{hint or there}"
    hint = _did_you_mean(key, groups) or _did_you_mean(key, list(_keys_of(cfg)) if cfg is not None else [])
    return f"{key} is not a key of the config{hint or ': --help lists them.'}"


def _did_you_mean(word: str, choices: Sequence[str]) -> str:
    found = close_to(word, choices)
    return f": did you mean {found}?" if found else ""


def _keys_of(cfg: DictConfig, prefix: str = "") -> Iterable[str]:
    """Yield the dotted keys of a config, of its nodes as well as of its leaves."""
    for key in cfg:
        node = cfg._get_node(key)
        yield f"{prefix}{key}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from _keys_of(node, f"{prefix}{key}.")


def _unknown_option(group: str, option: str, message: str) -> str:
    listed = message.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
    options = [line.strip() for line in listed if line.strip()] or _options().get(group, [])
    hint = _did_you_mean(option, options)
    return f"{group}={option} does not exist{hint or ':'} Available options in '{group}': {' '.join(options)}."
