"""The measurements of an experiment, read metric by metric."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lmablate.errors import UserError

# The metrics read last stay in memory, up to this number of rows. A row takes 20 bytes.
HELD_ROWS = 2**23


class Metrics:
    """Rows with the columns run, step, metric, value and more, in a file or in memory.

    One metric is read at a time, so that memory grows with the largest metric and not with the experiment.
    """

    def __init__(self, source: ds.Dataset):
        self._source = source
        self._held: dict[str, pd.DataFrame] = {}

    @classmethod
    def from_parquet(cls, path: Path) -> "Metrics":
        """Open a parquet file.

        Raises:
            UserError: if it is damaged. Every other method raises it, too, when it reads a damaged part.
        """
        with _damage_reported():
            return cls(ds.dataset(path, format=ds.ParquetFileFormat(dictionary_columns=["run", "metric"])))

    @classmethod
    def from_frame(cls, table: pd.DataFrame) -> "Metrics":
        """Wrap a table in memory."""
        return cls(ds.dataset(pa.Table.from_pandas(table, preserve_index=False)))

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._source.schema

    @property
    def table(self) -> pd.DataFrame:
        """All rows, in memory."""
        with _damage_reported():
            whole = self._source.to_table().to_pandas()
        return whole.astype({name: str for name in whole.columns if whole[name].dtype == "category"})

    @property
    def names(self) -> list[str]:
        """The names of the metrics, sorted."""
        return self._outline[0]

    @property
    def last_step(self) -> int:
        """The last step at which anything was logged; 0 if there are no rows."""
        return self._outline[1]

    @cached_property
    def _outline(self) -> tuple[list[str], int]:
        names: set[str | None] = set()
        last = 0
        with _damage_reported():
            for batch in self._source.to_batches(columns=["metric", "step"]):
                names.update(batch["metric"].unique().to_pylist())
                last = max(last, int(batch["step"].to_numpy().max(initial=0)))
        return sorted(name for name in names if name is not None), last

    def rows(self, metric: str) -> pd.DataFrame:
        """Return the columns run (categorical), step and value of one metric; empty if it does not exist."""
        if metric not in self._held:
            with _damage_reported():
                found = self._source.to_table(["run", "step", "value"], filter=pc.field("metric") == metric)
            rows = found.set_column(0, "run", found["run"].dictionary_encode()).unify_dictionaries().to_pandas()
            while self._held and len(rows) + sum(map(len, self._held.values())) > HELD_ROWS:
                del self._held[next(iter(self._held))]
            self._held[metric] = rows
        return self._held[metric]

    def wide(self, metric: str, runs: Collection[str]) -> pd.DataFrame:
        """Return one metric as a table of steps by runs.

        Args:
            metric: its name.
            runs: ids of runs; those that do not have the metric are left out.

        Returns:
            Steps by runs; NaN where a run did not log at a step.
        """
        rows = self.rows(metric)
        names = rows["run"].cat.categories
        columns = sorted({*names} & {*runs})
        column_of = np.full(len(names), -1)
        column_of[names.get_indexer(columns)] = np.arange(len(columns))
        column = column_of[rows["run"].cat.codes]
        chosen = column >= 0
        steps, row = np.unique(rows["step"].to_numpy()[chosen], return_inverse=True)
        values = np.full((len(steps), len(columns)), np.nan)
        values[row, column[chosen]] = rows["value"].to_numpy()[chosen]
        return pd.DataFrame(values, index=pd.Index(steps, name="step"), columns=columns)


@contextmanager
def _damage_reported() -> Iterator[None]:
    """Turn an error of pyarrow in the block into a UserError."""
    try:
        yield
    except (ValueError, OSError, pa.ArrowException) as error:
        raise UserError(f"the exports cannot be read: {error}.") from error
