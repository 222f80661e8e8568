"""metrics.jsonl: one JSON object per line and logged step, written during training and read back afterwards."""

import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lmablate.errors import UserError
from lmablate.files import write_bytes

log = logging.getLogger(__name__)

# Bytes that are read at a time from the end of a file.
_BLOCK_BYTES = 1 << 16


class MetricsLog:
    """A metrics.jsonl that is open for appending. It holds each step once, in order.

    Opening it drops the rows of step `keep_below` and later, because they will be computed again.

    Args:
        path: the file; it is created if it is missing.
        keep_below: the step that training resumes from.
        expected: number of rows before that step, as its checkpoint recorded it; None for a new run.

    Attributes:
        rows: number of rows in the file.
        file: the open file.

    Raises:
        UserError: if there are more or fewer rows than expected, or if one of them is damaged.
    """

    def __init__(self, path: Path, keep_below: int, expected: int | None = None) -> None:
        rows = _iterate_metrics(path) if path.exists() else ()
        kept = list(itertools.takewhile(lambda row: row["step"] < keep_below, rows))
        self.rows = len(kept)
        if expected is not None and self.rows != expected:
            raise UserError(
                f"{path} has {self.rows} rows before step {keep_below}, but had {expected} when that step's "
                f"checkpoint was saved: delete {path.parent} to train the run afresh."
            )
        write_bytes(path, "".join(map(dump_row, kept)).encode())
        self.file = path.open("ab", buffering=0)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row."""
        data = dump_row(row).encode()
        while data:  # a nearly full disk may accept only a part; the next write then fails
            data = data[self.file.write(data) :]
        self.rows += 1

    def sync(self) -> None:
        """Flush the file to disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Flush the file to disk, and close it."""
        self.sync()
        self.file.close()


def dump_row(row: Mapping[str, float]) -> str:
    """Return a row as its line in the file, with the newline."""
    return json.dumps(row, separators=(",", ":")) + "\n"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.jsonl. An incomplete last line, left by a kill, is dropped with a warning.

    Raises:
        UserError: for a damaged line anywhere else.
    """
    return list(_iterate_metrics(path))


def newest_values(path: Path, metrics: Iterable[str]) -> dict[str, float]:
    """Return the last value of each metric, read from the end of a file that may be growing.

    Args:
        path: the metrics.jsonl; it may be missing.
        metrics: their names. One that has no value is not in the result.
    """
    wanted, found, rest = {*metrics}, {}, b""
    with suppress(OSError), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end and wanted - found.keys():
            start = max(0, end - _BLOCK_BYTES)
            file.seek(start)
            lines = (file.read(end - start) + rest).split(b"\n")
            rest = lines.pop(0) if start else b""
            for line in reversed(lines):
                found = {**_numbers_of(line, wanted), **found}
            end = start
    return found


def _numbers_of(line: bytes, wanted: set[str]) -> dict[str, float]:
    """Return the wanted numbers of a row; none of a line that is damaged or not yet whole."""
    with suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict):
            return {name: float(row[name]) for name in wanted & row.keys() if isinstance(row[name], int | float)}
    return {}


def _iterate_metrics(path: Path) -> Iterator[dict[str, float]]:
    """Yield the rows of `read_metrics` one by one; a damaged line raises only when it is reached."""
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int) or isinstance(row["step"], bool):
                raise ValueError("it is not an object with an integer 'step'")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                log.warning("%s: dropped an incomplete last line of %d bytes", path, len(line))
                return
            raise UserError(f"{path}, line {number} is damaged: {error}.") from error
        yield row
