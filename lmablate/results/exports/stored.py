"""The tables of an experiment, read back from the files that `table` wrote."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lmablate.errors import UserError
from lmablate.files import checked_experiment, read_text
from lmablate.results.exports.metrics import Metrics
from lmablate.results.exports.recorded import COLUMNS, FACTS, METRIC_NAMES

# Columns that each table of runs has.
NEEDED = ("run", "experiment", "seed", "state", *FACTS, "val/loss")
# Facts that are text, whatever they look like.
TEXT_FACTS = ("run", "experiment", "state", "error", "data_fingerprint", METRIC_NAMES)


@dataclass(frozen=True)
class Exported:
    """An experiment, as its exports describe it.

    Attributes:
        experiment: its name.
        metrics: its measurements.
        runs: one row per run, with its seed, factors, state, facts (the columns FACTS) and final validation loss.
        declared: name and unit of the metrics that a probe of the runs describes.
    """

    experiment: str
    metrics: Metrics
    runs: pd.DataFrame
    declared: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """All tidy rows, in memory: columns experiment, run, seed, one per factor, step, metric, value."""
        return self.metrics.table

    @property
    def factors(self) -> list[str]:
        """The columns of `runs` that are factors."""
        return [column for column in self.runs.columns if column not in COLUMNS]


def load_exported(folder: Path, experiment: str) -> Exported:
    """Return the exports of `experiment` in `folder`.

    Raises:
        UserError: if they are missing or damaged, or hold no run.
    """
    checked_experiment("experiment", experiment)
    measurements, descriptions = folder / f"{experiment}.parquet", folder / f"{experiment}.runs.csv"
    for path in (measurements, descriptions):
        if not path.exists():
            raise UserError(f"{path} is missing: make it with `python -m lmablate.export experiment={experiment}`.")
    text = io.StringIO(read_text(descriptions))
    try:
        metrics = Metrics.from_parquet(measurements)
        text_columns = {field.name: str for field in metrics.schema if not _is_number(field.type)}
        dtypes: Any = dict.fromkeys(TEXT_FACTS, str) | text_columns
        runs = pd.read_csv(text, dtype=dtypes, keep_default_na=False, na_values=[""])
        for factor in text_columns.keys() & {*runs.columns}:
            runs[factor] = runs[factor].fillna("")
    except (ValueError, KeyError) as error:
        raise UserError(f"the exports of {experiment} in {folder} cannot be read: {error}.") from error
    if missing := [column for column in NEEDED if column not in runs.columns]:
        raise UserError(f"{descriptions} has no column {missing[0]}: it needs {', '.join(NEEDED)}.")
    if runs.empty:
        raise UserError(f"{descriptions} holds no run.")
    if not pd.api.types.is_integer_dtype(runs["seed"]):
        raise UserError(f"{descriptions} has a seed that is not a whole number.")
    texts = runs[METRIC_NAMES].dropna().unique() if METRIC_NAMES in runs else ()
    return Exported(experiment, metrics, runs, _declared_metrics(texts, descriptions))


def _declared_metrics(texts: Iterable[str], path: Path) -> dict[str, list[str]]:
    """Return name and unit by metric; of two descriptions of a metric, the later one."""
    declared: dict[str, list[str]] = {}
    for text in texts:
        try:
            found = json.loads(text)
            for metric, (name, unit) in found.items():
                declared[metric] = [str(name), str(unit)]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: the column {METRIC_NAMES} is damaged: {error}.") from None
    return declared


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def exported_names(folder: Path) -> list[str]:
    """Return the names of the experiments that have exports in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.parquet"))
