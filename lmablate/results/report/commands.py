"""The commands that train the runs of an experiment again, made from the arguments that each run recorded."""

import shlex
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import prod

_TRAIN = ("python", "-m", "lmablate.train")

# What a run recorded: its flags, and its overrides as (key, "=value"); one that deletes a key has no value.
_Recorded = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def training_commands(recorded: Iterable[Sequence[str]]) -> list[str]:
    """Return as few commands as train all runs: a sweep, if the runs are a grid, or else one sweep over seeds per arm.

    Args:
        recorded: the arguments of each run, from `Run.arguments_for`.
    """
    runs = list(dict.fromkeys(_split(arguments) for arguments in recorded if arguments))
    commands = []
    for alike in _grouped(runs, lambda run: (run[0], tuple(key for key, _ in run[1]))):
        arms = _grouped(alike, lambda run: tuple(pair for pair in run[1] if pair[0] != "seed"))
        commands += [_sweep(alike)] if _is_grid(alike) else [_sweep(arm) for arm in arms]
    return commands


def _split(arguments: Sequence[str]) -> _Recorded:
    """Return the flags with their values, and the overrides."""
    flags: list[str] = []
    words = list(arguments)
    while words and words[0].startswith("--"):
        flags += [words.pop(0), words.pop(0)] if len(words) > 1 else [words.pop(0)]
    pairs = [(key, equals + value) for key, equals, value in (word.partition("=") for word in words)]
    return tuple(flags), tuple(sorted(pairs, key=lambda pair: pair[0] != "experiment"))  # where a reader looks first


def _grouped(runs: Sequence[_Recorded], key: Callable[[_Recorded], Hashable]) -> list[list[_Recorded]]:
    groups: dict[Hashable, list[_Recorded]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _values(runs: Sequence[_Recorded]) -> list[tuple[str, list[str]]]:
    """Return the different values of each key of runs that have the same keys; seeds in order."""
    found = []
    for column in zip(*(overrides for _, overrides in runs), strict=True):
        key, values = column[0][0], list(dict.fromkeys(value for _, value in column))
        found.append((key, sorted(values, key=lambda seed: (len(seed), seed)) if key == "seed" else values))
    return found


def _is_grid(runs: Sequence[_Recorded]) -> bool:
    return prod(len(values) for _, values in _values(runs)) == len(runs)


def _sweep(runs: Sequence[_Recorded]) -> str:
    """Return the command that trains a grid of runs."""
    swept = _values(runs)
    words = [key + first + "".join(f",{value[1:]}" for value in rest) for key, (first, *rest) in swept]
    multirun = ["-m"] if any(len(values) > 1 for _, values in swept) else []
    return shlex.join([*_TRAIN, *runs[0][0], *multirun, *words])
