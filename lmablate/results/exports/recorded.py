"""Runs with a description and curves, as every reader returns them, before they become a table."""

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmablate.errors import UserError
from lmablate.files import read_json
from lmablate.results.exports.catalogue import choices_of_config
from lmablate.results.frames import Scalar
from lmablate.runs.run import Run

# Steps, ascending and each once, and values, which may be NaN or infinite. A curve has at least one point.
Curve = tuple[NDArray[np.int64], NDArray[np.float64]]
# Curves by metric.
Curves = dict[str, Curve]

# What wandb logs beside the metrics of a run.
WANDB_KEYS = ("_step", "_runtime", "_timestamp", "_wandb")

# What is done about a source that cannot be read: it is raised, or noted so that the other sources are still read.
OnDamage = Callable[[UserError], None]

# Bytes. Larger files are refused: the metrics of one run are held in memory.
FILE_LIMIT = 2 * 2**30
# Larger steps are not exact as floating-point numbers.
LAST_STEP = 2**53
# The largest whole number that a column holds.
LARGEST_WHOLE = 2**63 - 1

# Columns that describe a run besides its factors.
FACTS = (
    "data_fingerprint",
    "code_version",
    "tokens",
    "parameters",
    "flops_per_token",
    "max_steps",
    "warmup_steps",
    "error",
)
# A column that is there only if a probe of the experiment describes its metrics: {metric: [name, unit]} as JSON.
METRIC_NAMES = "metric_names"
# Columns of the tables of an experiment that are not factors.
COLUMNS = ("run", "experiment", "seed", "state", *FACTS, METRIC_NAMES, "val/loss", "step", "metric", "value")
# The state of a run whose measurements cannot be read.
DAMAGED = "damaged"


def raise_damage(error: UserError) -> None:
    """Let a source that cannot be read end the reading of all."""
    raise error


@dataclass(frozen=True)
class RecordedRun:
    """One run as a source describes it.

    Attributes:
        id: the run's id, or its name in the source.
        seed: its seed.
        state: its state as in status.json, or "unknown".
        read_curves: reads the measurements when it is called, so that those of all runs need not be in memory.
        choices: option by group.
        config: value by dotted key.
        facts: the columns FACTS that are known, and METRIC_NAMES.
        experiments: the experiments that the run belongs to, each with the choices that it recorded for the run.
    """

    id: str
    seed: int
    state: str
    read_curves: Callable[[], Curves]
    choices: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Scalar] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    experiments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = partial(object.__setattr__, self)  # the class is frozen
        for name in ("id", "state"):
            set_field(name, printable(getattr(self, name)))
        for name in ("choices", "config", "facts"):
            values = getattr(self, name).items()
            set_field(name, {key: printable(value) if isinstance(value, str) else value for key, value in values})

    def as_chosen_by(self, experiment: str) -> "RecordedRun":
        """Return the run with the choices that `experiment` recorded, or with its own if there are none."""
        return replace(self, choices=self.experiments.get(experiment) or self.choices)


def printable(text: str) -> str:
    """Return a name whose control characters and lone surrogates, which no table can hold, are spelled out."""
    if text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cs") else ascii(c)[1:-1] for c in text)


def recorded_from_folder(run: Run, read_curves: Callable[[], Curves]) -> RecordedRun:
    """Return a run as run.json and status.json of its folder describe it.

    Args:
        run: the run's folder.
        read_curves: reads its curves, from any source.

    Raises:
        UserError: if run.json lacks a key.
    """
    facts, status = run.facts(), run.status()
    try:
        identity = facts["identity"]
        config = identity["config"]
        known = {
            **{key: _count(facts.get(key)) for key in ("tokens", "parameters", "flops_per_token")},
            **{key: identity.get(key) for key in ("data_fingerprint", "code_version")},
            **schedule_of(config),
            "error": status.get("error"),
            METRIC_NAMES: json.dumps(facts["metrics"], sort_keys=True) if facts.get("metrics") else None,
        }
        return RecordedRun(
            id=run.id,
            seed=whole_number(config["seed"]),
            state=str(status["state"]),
            read_curves=read_curves,
            choices={str(group): str(option) for group, option in facts.get("choices", {}).items()}
            or choices_of_config(config),
            config=flatten_config(config),
            facts=known,
            experiments={path.name: _recorded_choices(path) for path in _experiment_files(run)},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{run.facts_path} is damaged: it lacks a usable {error}.") from error


def schedule_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of training steps and of warm-up steps in a config."""
    return {
        "max_steps": whole_number(config["train"]["max_steps"]),
        "warmup_steps": whole_number(config["optim"]["warmup_steps"]),
    }


def _count(value: Any) -> int | None:
    return None if value is None else whole_number(value)


def whole_number(value: Any) -> int:
    """Return a number that a table of whole numbers can hold.

    Raises:
        ValueError: if `value` is none.
    """
    if not abs(value) <= LARGEST_WHOLE:
        raise ValueError(f"number: {str(value)[:40]} is too large")
    return int(value)


def _experiment_files(run: Run) -> list[Path]:
    folder = run.folder / "experiments"
    return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def _recorded_choices(path: Path) -> Mapping[str, str]:
    """The choices in a file of `experiments/`; empty if the file is empty."""
    try:
        return {str(group): str(option) for group, option in read_json(path).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def flatten_config(node: Any, prefix: str = "") -> dict[str, Scalar]:
    """Return the values of a nested config by dotted key: {"optim": {"lr": 0.1}} -> {"optim.lr": 0.1}.

    A value that is neither a number nor a string becomes text as one would type it. That includes a list, which is
    one level of a factor; the search for secrets in config/credentials.py goes into lists instead.
    """
    if isinstance(node, Mapping):
        pairs = ((f"{prefix}.{key}" if prefix else str(key), value) for key, value in node.items())
        return {name: value for key, child in pairs for name, value in flatten_config(child, key).items()}
    if isinstance(node, bool) or node is None:
        return {prefix: "null" if node is None else str(node).lower()}
    too_large = isinstance(node, int) and abs(node) > LARGEST_WHOLE
    return {prefix: node if isinstance(node, int | float | str) and not too_large else str(node)}


def make_curves(rows: Iterator[tuple[int, Mapping[str, Any]]], source: Path) -> Curves:
    """Return the curves of rows; if a step occurs twice, the later row counts.

    Args:
        rows: pairs of a step and {metric: a number, or None for a missing value}.
        source: the file of the rows, for error messages.

    Raises:
        UserError: for a step out of range, or a value that is not a number.
    """
    points: dict[str, tuple[list[int], list[float]]] = {}
    for step, row in rows:
        if not 0 <= step < LAST_STEP:
            raise UserError(f"{source}: step {step} is out of range.")
        for metric, value in row.items():
            if type(value) is not float:
                if value is None:
                    continue
                value = _to_float(value, f"{source}: {metric} at step {step}")
            if metric not in points:
                points[metric] = ([], [])
            steps, values = points[metric]
            steps.append(step)
            values.append(value)
    return {metric: make_curve(*points[metric]) for metric in sorted(points)}


def _to_float(value: Any, name: str) -> float:
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise UserError(f"{name} is not a number: {str(value)[:40]!r}.")


def make_curve(steps: ArrayLike, values: ArrayLike) -> Curve:
    """Return the points sorted by step, each step once: the last point of a step counts."""
    x, y = np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)
    if np.all(x[1:] > x[:-1]):
        return x, y
    x, last = np.unique(x[::-1], return_index=True)
    return x, y[::-1][last]


def check_size(path: Path) -> None:
    """Refuse a file that is too large to be read as a whole.

    Raises:
        UserError: if it has more than FILE_LIMIT bytes.
    """
    if path.stat().st_size > FILE_LIMIT:
        raise UserError(f"{path} has {path.stat().st_size} bytes; at most {FILE_LIMIT} are read.")
