"""What every source of measurements yields: runs with a description and curves, before they are a table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmablate.errors import UserError
from lmablate.files import read_json
from lmablate.results.exports.catalogue import choices_of
from lmablate.runs.run import Run

Curve = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps, ascending and each once, and values, which may be NaN or infinite."""
Curves = dict[str, Curve]
"""By metric."""
Scalar = str | int | float

FILE_LIMIT = 2 * 2**30
"""Bytes. Larger files are refused: one run's metrics are held in memory."""
LAST_STEP = 2**53
"""Steps beyond this are not exact as floating-point numbers."""


@dataclass(frozen=True)
class Recorded:
    """One run as a source has it.

    choices: group -> option; config: dotted key -> value; facts: the columns of FACTS, where known.
    experiments: the experiments that count it among theirs, with the choices by which each came to it.
    curves: reads the measurements, so that they need not all be in memory.
    """

    run: str
    seed: int
    state: str
    curves: Callable[[], Curves]
    choices: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Scalar] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    experiments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def within(self, experiment: str) -> "Recorded":
        """The run with the choices that `experiment` made, where it noted them."""
        return replace(self, choices=self.experiments.get(experiment) or self.choices)


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


def from_folder(run: Run, curves: Callable[[], Curves]) -> Recorded:
    """The run in a folder of ours, as run.json and status.json describe it; `curves` come from any source."""
    facts, status = run.facts(), run.status()
    try:
        identity = facts["identity"]
        config = identity["config"]
        known = {
            **{key: facts.get(key) for key in ("tokens", "parameters", "flops_per_token")},
            **{key: identity.get(key) for key in ("data_fingerprint", "code_version")},
            **schedule_of(config),
            "error": status.get("error"),
        }
        return Recorded(
            run=run.id,
            seed=int(config["seed"]),
            state=str(status["state"]),
            curves=curves,
            choices=facts.get("choices") or choices_of(config),
            config=flatten(config),
            facts=known,
            experiments={path.name: _choices_in(path) for path in _experiment_files(run)},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{run.facts_path} is damaged: it lacks a usable {error}.") from error


def schedule_of(config: Mapping[str, Any]) -> dict[str, int]:
    return {"max_steps": config["train"]["max_steps"], "warmup_steps": config["optim"]["warmup_steps"]}


def _experiment_files(run: Run) -> list[Path]:
    folder = run.folder / "experiments"
    return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def _choices_in(path: Path) -> Mapping[str, str]:
    """The choices noted in a membership file; none where it is empty."""
    try:
        return {str(group): str(option) for group, option in read_json(path).items()}
    except (ValueError, AttributeError):
        return {}


def flatten(node: Any, prefix: str = "") -> dict[str, Scalar]:
    """{"optim": {"lr": 0.1}} -> {"optim.lr": 0.1}; what is no number becomes text as one would type it."""
    if isinstance(node, Mapping):
        pairs = ((f"{prefix}.{key}" if prefix else str(key), value) for key, value in node.items())
        return {name: value for key, child in pairs for name, value in flatten(child, key).items()}
    if isinstance(node, bool) or node is None:
        return {prefix: "null" if node is None else str(node).lower()}
    return {prefix: node if isinstance(node, int | float | str) else str(node)}


def make_curves(rows: Iterator[tuple[int, Mapping[str, Any]]], where: Path) -> Curves:
    """Curves from rows (step, {metric: number or None}); where a step comes twice, the later row counts.

    Raises UserError for a step or a value that is no number; None is a missing value.
    """
    points: dict[str, tuple[list[int], list[float]]] = {}
    for step, row in rows:
        if not 0 <= step < LAST_STEP:
            raise UserError(f"{where}: step {step} is out of range.")
        for metric, value in row.items():
            if type(value) is not float:
                if value is None:
                    continue
                value = _number(value, f"{where}: {metric} at step {step}")
            if metric not in points:
                points[metric] = ([], [])
            steps, values = points[metric]
            steps.append(step)
            values.append(value)
    return {metric: curve(*points[metric]) for metric in sorted(points)}


def _number(value: Any, what: str) -> float:
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise UserError(f"{what} is no number: {str(value)[:40]!r}.")


def curve(steps: ArrayLike, values: ArrayLike) -> Curve:
    x, y = np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)
    if np.all(x[1:] > x[:-1]):
        return x, y
    x, last = np.unique(x[::-1], return_index=True)
    return x, y[::-1][last]


def check_size(path: Path) -> None:
    """Raises UserError for a file too large to be read as a whole."""
    if path.stat().st_size > FILE_LIMIT:
        raise UserError(f"{path} has {path.stat().st_size} bytes; at most {FILE_LIMIT} are read.")
