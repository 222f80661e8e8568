"""One tidy table per experiment: parquet and csv for the measurements, a small csv for the runs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lmablate.errors import UserError
from lmablate.files import write_bytes
from lmablate.results.exports.factors import factor_columns
from lmablate.results.exports.metrics import Metrics
from lmablate.results.exports.recorded import FACTS, Curve, Curves, Recorded, Scalar

EVERY_STEP = ("train/loss", "grad_norm", "lr")
"""Never thinned: spikes, peaks and late slopes are read off them."""
WHOLE = ("tokens", "parameters", "flops_per_token", "max_steps", "warmup_steps")
ROWS_PER_WRITE = 2**18
EXACT_POWER = 22
"""Powers of ten up to this one are exact as floating-point numbers."""
NEARLY_HALF = 1e-3
"""Numbers that are scaled this close to a half may round to either side."""
CsvForm = Literal["plain", "gzip", "none"]


@dataclass(frozen=True)
class Thinning:
    """What keeps committed exports small.

    every: metrics logged at each step are kept at multiples of this, at evaluations and at the last step;
        those of EVERY_STEP are kept whole.
    digits: values are rounded to so many significant digits (whole numbers are exact); 6 is what a float32,
        in which losses are computed, is good for.
    """

    every: int = 1
    digits: int = 6

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"every={self.every} is not allowed: it must be at least 1.")
        if not 1 <= self.digits <= 17:
            raise UserError(f"digits={self.digits} is not allowed: choose 1 to 17 significant digits.")

    def __call__(self, curves: Curves) -> Curves:
        evaluated = [steps for metric, (steps, _) in curves.items() if metric.startswith("val/")]
        last = max((int(steps[-1]) for steps, _ in curves.values()), default=0)
        kept = np.unique(np.concatenate([*evaluated, [last]]))

        def thin(metric: str, steps: NDArray, values: NDArray) -> Curve:
            if self.every > 1 and metric not in EVERY_STEP:
                chosen = (steps % self.every == 0) | np.isin(steps, kept)
                steps, values = steps[chosen], values[chosen]
            return steps, round_significant(values, self.digits)

        return {metric: thin(metric, *curve) for metric, curve in curves.items()}


def round_significant(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Each value as the number nearest to its first `digits` significant digits; whole numbers unchanged."""
    rounded = values.copy()
    chosen = np.isfinite(values) & (values != np.rint(values))
    exact = values[chosen]
    shift = digits - 1 - np.floor(np.log10(np.abs(exact)))
    power = 10.0 ** np.clip(shift, 0, EXACT_POWER)
    scaled = exact * power
    quick = np.rint(scaled) / power  # both are exact, so this is the double next to the decimal number
    in_doubt = (shift < 0) | (shift > EXACT_POWER) | (digits > 15)
    in_doubt |= np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) < NEARLY_HALF
    quick[in_doubt] = [float(f"{value:.{digits}g}") for value in exact[in_doubt].tolist()]
    rounded[chosen] = quick
    return rounded


def write(
    recorded: Sequence[Recorded], experiment: str, out: Path, thinning: Thinning, csv: CsvForm = "plain"
) -> list[Path]:
    """Writes the tables of `experiment` into `out`, each as a whole. Returns their paths.

    One run is in memory at a time. Raises UserError where no run belongs to the experiment, or a factor has
    the name of a column.
    """
    runs = [run.within(experiment) for run in recorded if experiment in run.experiments]
    if not runs:
        names = sorted({name for run in recorded for name in run.experiments})
        raise UserError(f"experiment={experiment} has no run here; there is {', '.join(names) or 'none at all'}.")
    factors = factor_columns(runs)
    out.mkdir(parents=True, exist_ok=True)
    finals: list[float] = []
    paths = _write_measurements(_tables(runs, experiment, factors, thinning, finals), out / experiment, csv)
    frame = _run_rows(runs, experiment, factors).assign(**{"val/loss": finals})
    path = out / f"{experiment}.runs.csv"
    write_bytes(path, frame.to_csv(index=False, lineterminator="\n").encode())
    return [*paths, path]


def _run_rows(runs: Sequence[Recorded], experiment: str, factors: dict[str, list[Scalar]]) -> pd.DataFrame:
    """One row a run: what it is, and the facts known of it."""
    facts = {name: [run.facts.get(name) for run in runs] for name in FACTS}
    return pd.DataFrame(
        {
            "run": [run.run for run in runs],
            "experiment": experiment,
            "seed": [run.seed for run in runs],
            **factors,
            "state": [run.state for run in runs],
            **{name: _whole(column) if name in WHOLE else column for name, column in facts.items()},
        }
    )


def _whole(column: list[int | None]) -> pd.Series:
    """Whole numbers, some of them missing."""
    return pd.Series(column, dtype="Int64")


def _tables(
    runs: Sequence[Recorded],
    experiment: str,
    factors: dict[str, list[Scalar]],
    thinning: Thinning,
    finals: list[float],
) -> Iterator[pa.Table]:
    """The tidy rows run by run, by metric and step; appends each run's last validation loss to `finals`."""
    for index, run in enumerate(runs):
        curves = thinning(run.curves())
        finals.append(float(curves["val/loss"][1][-1]) if "val/loss" in curves else math.nan)
        counts = [len(steps) for steps, _ in curves.values()]
        n = sum(counts)
        constant = {"experiment": experiment, "run": run.run, "seed": run.seed}
        constant |= {factor: levels[index] for factor, levels in factors.items()}
        yield pa.table(
            {
                **{name: pa.repeat(value, n) for name, value in constant.items()},
                "step": np.concatenate([np.zeros(0, np.int64), *(steps for steps, _ in curves.values())]),
                "metric": pa.array(np.repeat(np.array([*curves], dtype=object), counts), pa.string()),
                "value": np.concatenate([np.zeros(0), *(values for _, values in curves.values())]),
            }
        )


def _write_measurements(rows: Iterator[pa.Table], stem: Path, csv: CsvForm) -> list[Path]:
    """<stem>.parquet and .csv or .csv.gz, through part files; an older csv of the other form is removed."""
    suffixes = {"plain": [".csv"], "gzip": [".csv.gz"], "none": []}[csv]
    paths = [stem.with_name(stem.name + suffix) for suffix in [".parquet", *suffixes]]
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    try:
        writers: list[pq.ParquetWriter | pyarrow.csv.CSVWriter] = []
        for batch in _batches(rows):
            writers = writers or [_open_writer(part, batch.schema) for part in parts]
            for writer in writers:
                writer.write_table(batch)
        for writer in writers:
            writer.close()
        for form in (".csv", ".csv.gz"):
            stem.with_name(stem.name + form).unlink(missing_ok=True)
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return paths


def _open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter | pyarrow.csv.CSVWriter:
    if path.name.endswith(".parquet.part"):
        return pq.ParquetWriter(path, schema, compression="zstd", compression_level=12)
    sink = pa.CompressedOutputStream(str(path), "gzip") if path.name.endswith(".gz.part") else str(path)
    return pyarrow.csv.CSVWriter(sink, schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed"))


def _batches(rows: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Few large tables instead of one a run: parquet compresses and reads them better."""
    held: list[pa.Table] = []
    for table in rows:
        held.append(table)
        if sum(part.num_rows for part in held) >= ROWS_PER_WRITE:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


FIXED = ("run", "experiment", "seed", "state", *FACTS, "val/loss")
"""Columns of a table of runs that are not factors."""


@dataclass(frozen=True)
class Exported:
    """An experiment as its exports have it.

    metrics: its measurements; runs: one row a run, with its factors, `state` and the facts of FACTS.
    """

    experiment: str
    metrics: Metrics
    runs: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """All tidy rows, in memory: columns experiment, run, seed, one per factor, step, metric, value."""
        return self.metrics.table

    @property
    def factors(self) -> list[str]:
        return [column for column in self.runs.columns if column not in FIXED]


def load(folder: Path, experiment: str) -> Exported:
    """The exports of `experiment` in `folder`. Raises UserError where they are missing or damaged."""
    measured, described = folder / f"{experiment}.parquet", folder / f"{experiment}.runs.csv"
    for path in (measured, described):
        if not path.exists():
            raise UserError(f"{path} is missing: make it with `python -m lmablate.export experiment={experiment}`.")
    try:
        metrics = Metrics.stored(measured)
        types = {field.name: str for field in metrics.schema if not _is_number(field.type)}
        runs = pd.read_csv(described, dtype=types, keep_default_na=False, na_values=[""])
        for factor in types.keys() & {*runs.columns}:
            runs[factor] = runs[factor].fillna("")
    except (ValueError, KeyError) as error:
        raise UserError(f"the exports of {experiment} in {folder} cannot be read: {error}.") from error
    return Exported(experiment, metrics, runs)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def exported(folder: Path) -> list[str]:
    """The experiments that have exports in `folder`, by name."""
    return sorted(path.stem for path in folder.glob("*.parquet"))
