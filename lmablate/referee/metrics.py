"""Read the metric of a run, a single number, from its log or from a file that the run has written.

    log:REGEX              the last match in what the command printed; the number is the group, or all that matches
    json:FILE:KEY          a key of a JSON file; a.b is the key b of the object a
    jsonl:FILE:KEY         the last line that has the key
    csv:FILE:COLUMN        the last row that has a value there
    wandb:KEY              the last value that a run of wandb, offline, has logged
    tensorboard:FOLDER:TAG the last value of a tag in TensorBoard's event files below a folder

FILE and FOLDER are relative to the folder in which the command runs. Not a number and infinity are values: the run has
diverged.
"""

import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.errors import UserError, reason
from lmablate.files import read_text
from lmablate.referee.supervise import LOG, WORK

FORMS = (
    "log:REGEX, json:FILE:KEY, jsonl:FILE:KEY, csv:FILE:COLUMN, wandb:KEY or tensorboard:FOLDER:TAG, "
    "such as metric='log:val loss ([0-9.]+)'"
)
# Bytes of a file that is read for one number.
_LARGEST = 256 * 2**20
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# How many names a message lists.
_LISTED = 8


class MetricMissing(Exception):
    """A run has no number where the metric should be. The message is a clause about the run."""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _number(value: Any, where: str) -> float:
    """Return a value as a number; "nan" and "inf" are numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MetricMissing(f"{where} is {json.dumps(value)[:80]}, which is no number")
    text = str(value).strip().rstrip(".")
    try:
        return plain_number(text)
    except ValueError:
        raise MetricMissing(f"{where} is {text[:80]!r}, which is text and no number") from None


def plain_number(text: str) -> float:
    """Return the number that a text is for everybody: Python also takes 1_000 for one, and other scripts' digits.

    Raises:
        ValueError: if it is none.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text)


@dataclass(frozen=True)
class Metric(ABC):
    """Where a run's number is found."""

    @abstractmethod
    def read(self, folder: Path) -> float:
        """Return the number of a finished run.

        Args:
            folder: the run's folder, which holds log.txt and work/.

        Raises:
            MetricMissing: if there is none.
        """

    @property
    def own(self) -> str | None:
        """The entry of the working folder in which it is found. A run never gets a link there: it would be shared."""
        return None


@dataclass(frozen=True)
class LogMatch(Metric):
    """The last match of a regular expression in the log."""

    pattern: re.Pattern[str]

    def read(self, folder: Path) -> float:
        """Return the number in the last match."""
        text = _ANSI.sub("", (folder / LOG).read_text(encoding="utf-8", errors="replace"))
        last = None
        for match in self.pattern.finditer(text):
            last = match
        if last is None:
            cut = ", of which the middle is left out" if re.search(r"\[\.\.\. \d+ bytes are left out", text) else ""
            printed = "printed nothing" if not text.strip() else f"has no match of {self.pattern.pattern!r}"
            raise MetricMissing(f"its log {printed}{cut}")
        found = last[1] if self.pattern.groups else last[0]
        return _number(found if found is not None else "", f"the last match of {self.pattern.pattern!r}")


@dataclass(frozen=True)
class _InFile(Metric):
    """A number in a file that the run has written."""

    file: str
    key: str

    @property
    def own(self) -> str:
        """The first part of the file's path."""
        return Path(self.file).parts[0]

    def find(self, folder: Path) -> Path:
        """Return the file.

        Raises:
            MetricMissing: if it is missing or too large, or not the run's own.
        """
        work = folder / WORK
        path = work / self.file
        if not path.resolve().is_relative_to(work.resolve()):
            raise MetricMissing(f"{self.file} leads out of its folder, to {path.resolve()}, which all runs share")
        if not path.exists():
            written = sorted(
                str(found.relative_to(work))
                for found in work.rglob("*")
                if found.is_file() and not any(part.is_symlink() for part in (found, *found.parents) if part != work)
            )
            wrote = f"it wrote {_listed(written)}" if written else "it wrote no file at all"
            raise MetricMissing(f"there is no {self.file} in its folder: {wrote}")
        return path

    def text(self, folder: Path) -> str:
        """Return the file's text."""
        path = self.find(folder)
        try:
            if path.stat().st_size > _LARGEST:
                raise MetricMissing(f"{self.file} has more than {_LARGEST} bytes")
            return read_text(path, self.file)
        except UserError as error:
            raise MetricMissing(str(error).rstrip(".")) from None
        except OSError as error:
            raise MetricMissing(f"{self.file} cannot be read: {reason(error)}") from None


def _look_up(value: Any, key: str) -> Any:
    """Return the value of a key, which may be dotted; raises KeyError."""
    if isinstance(value, Mapping):
        if key in value:
            return value[key]
        head, dot, rest = key.partition(".")
        while dot:
            if head in value:
                return _look_up(value[head], rest)
            more, dot, rest = rest.partition(".")
            head = f"{head}.{more}"
    raise KeyError(key)


class JsonKey(_InFile):
    """A key of a JSON file."""

    def read(self, folder: Path) -> float:
        """Return the key's value."""
        try:
            value = json.loads(self.text(folder))
        except (ValueError, RecursionError):
            raise MetricMissing(f"{self.file} is not JSON") from None
        try:
            return _number(_look_up(value, self.key), f"{self.key} in {self.file}")
        except KeyError:
            keys = f"it has {_listed(list(map(str, value)))}" if isinstance(value, dict) and value else "it has no key"
            raise MetricMissing(f"{self.file} has no key {self.key}: {keys}") from None


class JsonLinesKey(_InFile):
    """The last line with a key of a JSONL file."""

    def read(self, folder: Path) -> float:
        """Return the last value of the key."""
        found, keys = None, dict[str, None]()
        for line in self.text(folder).split("\n"):
            try:
                row = json.loads(line)
                keys |= dict.fromkeys(map(str, row)) if isinstance(row, dict) else {}
                found = _look_up(row, self.key)
            except (ValueError, KeyError, RecursionError):
                continue
        if found is None:
            has = f"they have {_listed(list(keys))}" if keys else "none is a JSON object"
            raise MetricMissing(f"no line of {self.file} has the key {self.key}: {has}")
        return _number(found, f"the last {self.key} in {self.file}")


class CsvColumn(_InFile):
    """The last value in a column of a CSV file."""

    def read(self, folder: Path) -> float:
        """Return the last value of the column that is not empty."""
        try:
            rows = list(csv.reader(io.StringIO(self.text(folder))))
        except csv.Error as error:
            raise MetricMissing(f"{self.file} is not CSV: {error}") from None
        header = [name.strip() for name in rows[0]] if rows else []
        if self.key not in header:
            columns = f"it has {_listed(header)}" if header else "it is empty"
            raise MetricMissing(f"{self.file} has no column {self.key}: {columns}")
        place = header.index(self.key)
        values = [row[place] for row in rows[1:] if len(row) > place and row[place].strip()]
        if not values:
            raise MetricMissing(f"the column {self.key} of {self.file} has no value")
        return _number(values[-1], f"the last {self.key} in {self.file}")


@dataclass(frozen=True)
class WandbKey(Metric):
    """The last value of a key in the run that wandb wrote offline."""

    key: str

    @property
    def own(self) -> str:
        """The folder where wandb writes."""
        return "wandb"

    def read(self, folder: Path) -> float:
        """Return the last value of the key."""
        from lmablate.results.exports.wandb_offline import read_segment  # here: it imports pandas

        paths = sorted(path for path in (folder / WORK).rglob("*.wandb") if path.is_file())
        if len(paths) != 1:
            raise MetricMissing(f"it wrote {len(paths)} offline runs of wandb (*.wandb), where one is expected")
        try:
            rows = [row for _, row in read_segment(paths[0]).rows]
        except UserError as error:
            raise MetricMissing(str(error).rstrip(".")) from None
        values = [row[self.key] for row in rows if self.key in row]
        if not values:
            names = sorted({name for row in rows for name in row})
            raise MetricMissing(f"its wandb run has no {self.key}: it has {_listed(names) or 'no number'}")
        return _number(values[-1], f"the last {self.key} of its wandb run")


class TensorBoardTag(_InFile):
    """The last value of a tag in the event files of a folder."""

    def read(self, folder: Path) -> float:
        """Return the tag's last value."""
        return last_scalars(self.find(folder), self.file)(self.key)


def last_scalars(folder: Path, name: str) -> Callable[[str], float]:
    """Return a function from a tag of TensorBoard's event files to its last value.

    Args:
        folder: where the files are, at any depth.
        name: what to call it in messages.

    Raises:
        UserError: if tensorboard is not installed.
        MetricMissing: if there is no event file, or, by the function, if there is no such tag.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util import tensor_util
    except ImportError:
        raise UserError("TensorBoard's files need the package tensorboard: install lmablate[tensorboard].") from None
    parts = sorted({path.parent for path in folder.rglob("*tfevents*")})
    if not parts:
        raise MetricMissing(f"{name} has no event file of TensorBoard")
    last: dict[str, tuple[int, float]] = {}
    for part in parts:
        events = EventAccumulator(str(part), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        points = [(tag, point.step, point.value) for tag in events.Tags()["scalars"] for point in events.Scalars(tag)]
        for tag in events.Tags()["tensors"]:
            for event in events.Tensors(tag):
                value = tensor_util.make_ndarray(event.tensor_proto)
                points += [(tag, event.step, float(value))] if value.size == 1 and value.dtype.kind == "f" else []
        for tag, step, value in points:
            if tag not in last or step >= last[tag][0]:
                last[tag] = (step, value)

    def value_of(tag: str) -> float:
        if tag not in last:
            raise MetricMissing(f"{name} has no tag {tag}: it has {_listed(sorted(last)) or 'no scalar'}")
        return last[tag][1]

    return value_of


def _of_log(key: str, rest: str) -> Metric:
    try:
        pattern = re.compile(rest, re.MULTILINE)
    except (re.error, RecursionError) as error:
        raise UserError(f"{key}=log:{rest} is not a regular expression: {error}.") from None
    if not rest or pattern.groups > 1:
        raise UserError(f"{key}=log:{rest} is not allowed: it must be a regular expression with at most one group.")
    return LogMatch(pattern)


def _of_file(kind: str, make: type[_InFile]) -> Callable[[str, str], Metric]:
    def parse(key: str, rest: str) -> Metric:
        file, colon, name = rest.partition(":")
        parts = Path(file).parts
        if not (colon and name and parts) or Path(file).is_absolute() or ".." in parts or "\0" in rest:
            raise UserError(
                f"{key}={kind}:{rest} is not allowed: it must be {kind}:PATH:NAME, with a path below the folder in "
                "which the command runs."
            )
        return make(file, name)

    return parse


def _of_wandb(key: str, rest: str) -> Metric:
    if not rest:
        raise UserError(f"{key}=wandb: is not allowed: it must be wandb:KEY.")
    return WandbKey(rest)


_KINDS: dict[str, Callable[[str, str], Metric]] = {
    "log": _of_log,
    "json": _of_file("json", JsonKey),
    "jsonl": _of_file("jsonl", JsonLinesKey),
    "csv": _of_file("csv", CsvColumn),
    "wandb": _of_wandb,
    "tensorboard": _of_file("tensorboard", TensorBoardTag),
}


def parse_metric(key: str, text: str) -> Metric:
    """Return the metric that a user means.

    Args:
        key: the argument, for messages.
        text: one of the forms in this module's docstring.

    Raises:
        UserError: if it is none of them.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _KINDS:
        raise UserError(f"{key}={text} is not allowed: it must be {FORMS}.")
    return _KINDS[kind](key, rest)
