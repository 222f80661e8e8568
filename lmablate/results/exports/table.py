"""One tidy table per experiment: parquet and CSV for the measurements, a small CSV for the runs."""

import csv
import gzip
import io
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lmablate.errors import UserError
from lmablate.files import atomic_write, checked_experiment, read_text, write_bytes
from lmablate.results.exports.factors import factor_columns
from lmablate.results.exports.recorded import (
    DAMAGED,
    FACTS,
    METRIC_NAMES,
    Curve,
    Curves,
    OnDamage,
    RecordedRun,
    printable,
    raise_damage,
)
from lmablate.results.frames import Scalar

# Thinned only on request: spikes, peaks and late slopes are read off them.
EVERY_STEP = ("train/loss", "grad_norm", "lr")
WHOLE_NUMBERS = ("tokens", "parameters", "flops_per_token", "max_steps", "warmup_steps")
# Few large batches instead of one per run: parquet compresses and reads them better.
ROWS_PER_WRITE = 2**18
# Powers of ten up to this one are exact as floating-point numbers.
EXACT_POWER = 22
# A scaled number this close to a half may round to either side.
NEARLY_HALF = 1e-3

CsvForm = Literal["plain", "gzip", "none"]
CSV_SUFFIXES = {"plain": ".csv", "gzip": ".csv.gz"}
RUNS_SUFFIX = ".runs.csv"


@dataclass(frozen=True)
class Thinning:
    """Thins and rounds curves, which keeps committed exports small.

    Attributes:
        every: a metric that is logged at each step is kept at multiples of this, at evaluations and at the last step.
            No metric is lost altogether.
        digits: number of significant digits to which values are rounded; whole numbers stay exact. Losses are
            computed in float32, which holds about 6.
        step_every: the same as `every` for the metrics EVERY_STEP, which fill most of a table.
        step_digits: the same as `digits` for them; None for `digits`.
    """

    every: int = 1
    digits: int = 6
    step_every: int = 1
    step_digits: int | None = None

    def __post_init__(self) -> None:
        for key, every in (("every", self.every), ("step_every", self.step_every)):
            if every < 1:
                raise UserError(f"{key}={every} is not allowed: it must be at least 1.")
        for key, digits in (("digits", self.digits), ("step_digits", self.step_digits)):
            if digits is not None and not 1 <= digits <= 17:
                raise UserError(f"{key}={digits} is not allowed: choose 1 to 17 significant digits.")

    def __call__(self, curves: Curves) -> Curves:
        """Return the thinned and rounded curves."""
        evaluated = [steps for metric, (steps, _) in curves.items() if metric.startswith("val/")]
        last = max((int(steps[-1]) for steps, _ in curves.values()), default=0)
        kept = np.unique(np.concatenate([*evaluated, [last]]))

        def thin(metric: str, steps: NDArray, values: NDArray) -> Curve:
            every, digits = self.every, self.digits
            if metric in EVERY_STEP:
                every, digits = self.step_every, self.step_digits or digits
            if every > 1:
                chosen = (steps % every == 0) | np.isin(steps, kept)
                chosen[-1] |= not chosen.any()
                steps, values = steps[chosen], values[chosen]
            return steps, round_significant(values, digits)

        return {printable(metric): thin(metric, *curve) for metric, curve in curves.items()}


def round_significant(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Return each value as the number nearest to its first `digits` significant digits; whole numbers unchanged."""
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


def write_tables(
    recorded: Sequence[RecordedRun],
    experiment: str,
    out: Path,
    thinning: Thinning,
    csv_form: CsvForm = "plain",
    on_damage: OnDamage = raise_damage,
) -> list[Path]:
    """Write the tables of an experiment, each atomically. The curves of one run are in memory at a time.

    Args:
        recorded: runs, of which those of the experiment are written.
        experiment: its name, which is also that of the files.
        out: the folder of the tables; it is created if it is missing.
        thinning: thins and rounds the curves.
        csv_form: how the measurements are written as CSV, besides parquet. Older files of another form are removed.
        on_damage: what is done about a run whose measurements cannot be read. If it does not raise, the run stays in
            the table of runs, in the state DAMAGED.

    Returns:
        The paths of the tables.

    Raises:
        UserError: if no run belongs to the experiment, or if no file may have its name.
    """
    checked_experiment("experiment", experiment)
    runs = [run.as_chosen_by(experiment) for run in recorded if experiment in run.experiments]
    if not runs:
        names = sorted({name for run in recorded for name in run.experiments})
        raise UserError(f"experiment={experiment} has no run here; there is {', '.join(names) or 'no other'}.")
    factors = factor_columns(runs)
    out.mkdir(parents=True, exist_ok=True)
    *paths, runs_path = table_paths(experiment, out, csv_form)
    final_losses: list[float] = []
    with ExitStack() as files:
        parts = {path: files.enter_context(atomic_write(path)) for path in paths}
        writer = files.enter_context(_MeasurementWriter(parts))
        for index, run in enumerate(runs):
            try:
                curves = thinning(run.read_curves())
            except UserError as error:
                on_damage(error)
                curves, runs[index] = {}, replace(run, state=DAMAGED, facts={**run.facts, "error": str(error)})
            final_losses.append(float(curves["val/loss"][1][-1]) if "val/loss" in curves else math.nan)
            levels = {factor: column[index] for factor, column in factors.items()}
            writer.add(_tidy_rows(experiment, run, levels, curves))
    for other in {out / f"{experiment}{suffix}" for suffix in CSV_SUFFIXES.values()} - {*paths}:
        if other.is_file() and is_table_of(other, ()):
            other.unlink()
    frame = _run_rows(runs, experiment, factors).assign(**{"val/loss": final_losses})
    write_bytes(runs_path, frame.to_csv(index=False, lineterminator="\n").encode())
    return [*paths, runs_path]


def table_paths(experiment: str, out: Path, csv_form: CsvForm) -> list[Path]:
    """Return the paths of the tables of an experiment: its measurements in each form, then its runs."""
    suffixes = [".parquet", *([] if csv_form == "none" else [CSV_SUFFIXES[csv_form]]), RUNS_SUFFIX]
    return [out / f"{experiment}{suffix}" for suffix in suffixes]


def is_table_of(path: Path, runs: Collection[str]) -> bool:
    """Return whether `write_tables` wrote a file, and, if it is a table of runs, whether one of `runs` is in it."""
    try:
        if path.name.endswith(RUNS_SUFFIX):
            rows = csv.DictReader(io.StringIO(read_text(path)))
            return any(row["run"] in runs and row["experiment"] for row in rows)
        if path.suffix == ".parquet":
            columns = pq.read_schema(path).names
        else:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
                columns = next(csv.reader(file))
    except (OSError, EOFError, ValueError, KeyError, StopIteration, csv.Error):
        return False
    return columns[:3] == ["experiment", "run", "seed"] and columns[-3:] == ["step", "metric", "value"]


def _run_rows(runs: Sequence[RecordedRun], experiment: str, factors: dict[str, list[Scalar]]) -> pd.DataFrame:
    described = [METRIC_NAMES] if any(run.facts.get(METRIC_NAMES) for run in runs) else []
    facts = {name: [run.facts.get(name) for run in runs] for name in [*FACTS, *described]}
    return pd.DataFrame(
        {
            "run": [run.id for run in runs],
            "experiment": experiment,
            "seed": [run.seed for run in runs],
            **factors,
            "state": [run.state for run in runs],
            **{name: _whole(column) if name in WHOLE_NUMBERS else column for name, column in facts.items()},
        }
    )


def _whole(column: list[int | None]) -> pd.Series:
    """Whole numbers, some of them missing."""
    return pd.Series(column, dtype="Int64")


def _tidy_rows(experiment: str, run: RecordedRun, levels: Mapping[str, Scalar], curves: Curves) -> pa.Table:
    """Return one row per value of the run, by metric and step."""
    counts = [len(steps) for steps, _ in curves.values()]
    n = sum(counts)
    constant = {"experiment": experiment, "run": run.id, "seed": run.seed, **levels}
    return pa.table(
        {
            **{name: pa.repeat(value, n) for name, value in constant.items()},
            "step": np.concatenate([np.zeros(0, np.int64), *(steps for steps, _ in curves.values())]),
            "metric": pa.array(np.repeat(np.array([*curves], dtype=object), counts), pa.string()),
            "value": np.concatenate([np.zeros(0), *(values for _, values in curves.values())]),
        }
    )


class _MeasurementWriter:
    """Writes the same rows to several files, in batches of at least ROWS_PER_WRITE rows; a context manager."""

    def __init__(self, parts: Mapping[Path, Path]) -> None:
        """Write to the values of `parts`, in the formats that the names of its keys say."""
        self._parts = parts
        self._opened = ExitStack()
        self._writers: list[pq.ParquetWriter | pyarrow.csv.CSVWriter] = []
        self._held: list[pa.Table] = []

    def __enter__(self) -> "_MeasurementWriter":
        return self

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        if sum(held.num_rows for held in self._held) >= ROWS_PER_WRITE:
            self._write_held()

    def _write_held(self) -> None:
        batch = pa.concat_tables(self._held)
        self._held = []
        if not self._writers:  # the first rows give the schema
            self._writers = [self._open_writer(path, part, batch.schema) for path, part in self._parts.items()]
        for writer in self._writers:
            writer.write_table(batch)

    def _open_writer(self, path: Path, part: Path, schema: pa.Schema) -> pq.ParquetWriter | pyarrow.csv.CSVWriter:
        sink = pa.CompressedOutputStream(str(part), "gzip") if path.suffix == ".gz" else pa.OSFile(str(part), "wb")
        self._opened.enter_context(sink)
        if path.suffix == ".parquet":
            # Steps that rise by the same number take next to no room as differences. A dictionary suits all else.
            others, encoding = [name for name in schema.names if name != "step"], {"step": "DELTA_BINARY_PACKED"}
            form = {"use_dictionary": others, "column_encoding": encoding}
            writer = pq.ParquetWriter(sink, schema, compression="zstd", compression_level=12, **form)
        else:
            writer = pyarrow.csv.CSVWriter(sink, schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed"))
        return self._opened.enter_context(writer)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._opened:
            if kind is None and self._held:
                self._write_held()
