"""Sources of text: each corpus streams its documents as normalised text.

Normalised text is UTF-8 without a byte order mark. Its lines end in a line feed, and `<|endoftext|>` stands between
documents.
"""

import hashlib
import io
import os
import platform
import sysconfig
import tokenize
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from lmablate.errors import UserError
from lmablate.files import text_blocks, user_path

Split = Literal["train", "valid"]

END_OF_TEXT = "<|endoftext|>"


class Corpus(ABC):
    """A text in two splits.

    Attributes:
        name: the corpus's name in the config; the name of its cache folder begins with it.
    """

    name: str

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return everything that determines the text, as a dict that JSON can hold and that is cheap to compute.

        The name of the cache folder contains its hash.
        """

    @abstractmethod
    def write(self, split: Split, out: BinaryIO) -> None:
        """Stream the documents of one split to `out` as normalised text.

        Raises:
            UserError: if a source is missing, empty or not UTF-8.
        """

    def provenance(self) -> dict[str, Any]:
        """Return facts about the source that are known only once the text is written; they are recorded beside it."""
        return {}


class PyStdlib(Corpus):
    """The source code of the running Python's own standard library: real text on every machine.

    Each `.py` file is one document; documents are in the order of their relative paths. Tests, installed packages
    and generated build configuration are left out, and so is a file that does not decode in the encoding that it
    declares (PEP 263).

    Args:
        valid_fraction: expected share of files in the validation split, between 0 and 1. A hash of a file's path
            alone decides its split.
        max_bytes: the most bytes of each split, cut between documents; None for all.

    Raises:
        UserError: if a value is out of range.
    """

    name = "pystdlib"
    SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
    GENERATED = "_sysconfigdata"

    def __init__(self, valid_fraction: float = 0.05, max_bytes: int | None = None):
        if isinstance(valid_fraction, bool) or not isinstance(valid_fraction, (int, float)):
            raise UserError(f"data.valid_fraction={valid_fraction!r} must be a number between 0 and 1.")
        if not 0 < valid_fraction < 1:
            raise UserError(f"data.valid_fraction={valid_fraction} must lie between 0 and 1, both excluded.")
        self.valid_fraction = float(valid_fraction)
        self.max_bytes = checked_max_bytes(max_bytes)
        self.root = Path(sysconfig.get_path("stdlib"))

    def identity(self) -> dict[str, Any]:
        """Return the Python version, a hash of the files' paths and sizes, and the settings."""
        listing = "".join(f"{path}\0{(self.root / path).stat().st_size}\n" for path in self._paths())
        return {
            "corpus": self.name,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "files_sha256": hashlib.sha256(listing.encode()).hexdigest(),
            "valid_fraction": self.valid_fraction,
            "max_bytes": self.max_bytes,
        }

    def write(self, split: Split, out: BinaryIO) -> None:
        """Stream the source files of one split to `out` as normalised text."""
        out.writelines(head(self._documents(split), self.max_bytes))

    def _documents(self, split: Split) -> Iterator[bytes]:
        for path in self._paths():
            if self._split_of(path) == split and (text := _read_source(self.root / path)):
                yield (text + END_OF_TEXT).encode()

    def _split_of(self, path: str) -> Split:
        draw = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
        return "valid" if draw < self.valid_fraction else "train"

    def _paths(self) -> list[str]:
        found = []
        for folder, subfolders, files in os.walk(self.root):
            # In place: os.walk then never enters site-packages, which can hold far more than the library.
            subfolders[:] = [name for name in subfolders if name not in self.SKIPPED_FOLDERS]
            sources = (name for name in files if name.endswith(".py") and not name.startswith(self.GENERATED))
            found += [(Path(folder) / name).relative_to(self.root).as_posix() for name in sources]
        return sorted(found)


class TextFiles(Corpus):
    """The user's own UTF-8 files, one for each split; `<|endoftext|>` separates the documents in them.

    Args:
        train: path of the training text.
        valid: path of the validation text.
        max_bytes: the most bytes of each split, cut between documents if at least one fits; None for all.

    Raises:
        UserError: if a file is missing, empty or not readable, or `max_bytes` is out of range.
    """

    name = "text"

    def __init__(self, train: str | Path | None, valid: str | Path | None, max_bytes: int | None = None):
        self.sources = {"train": _checked_source("train", train), "valid": _checked_source("valid", valid)}
        self.max_bytes = checked_max_bytes(max_bytes)

    def identity(self) -> dict[str, Any]:
        """Return the paths, sizes and modification times of the files, and the settings."""
        return {
            "corpus": self.name,
            "train": self._stamp("train"),
            "valid": self._stamp("valid"),
            "max_bytes": self.max_bytes,
        }

    def write(self, split: Split, out: BinaryIO) -> None:
        """Stream the file of one split to `out` as normalised text.

        Raises:
            UserError: if the file is not UTF-8.
        """
        path = self.sources[split]
        with path.open("rb") as source:
            out.writelines(head(normalised(source, f"data.{split}={path}"), self.max_bytes))

    def _stamp(self, split: Split) -> dict[str, Any]:
        path = self.sources[split]
        status = path.stat()
        return {"path": str(path), "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _read_source(path: Path) -> str:
    """Return the text of a Python file, decoded as it declares, or "" if it does not decode."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""


def normalised(source: io.BufferedIOBase, origin: str, errors: str = "strict") -> Iterator[bytes]:
    """Yield the text of `source` as UTF-8 blocks that end between characters; the arguments are `text_blocks`'s."""
    yield from (text.encode() for text in text_blocks(source, origin, errors))


def head(blocks: Iterable[bytes], max_bytes: int | None) -> Iterator[bytes]:
    """Yield the longest prefix of the text that ends with a document and has at most `max_bytes` bytes.

    If not even the first document fits, the prefix is cut between two characters of that document.

    Args:
        blocks: the text, in blocks of any size.
        max_bytes: the most bytes to yield; None for the whole text.
    """
    if max_bytes is None:
        yield from blocks
        return
    separator = END_OF_TEXT.encode()
    room, held = max_bytes, bytearray()
    for block in blocks:
        held += block
        end = held.rfind(separator, 0, room) + len(separator)
        if end >= len(separator):
            yield bytes(held[:end])
            del held[:end]
            room -= end
        if len(held) > room:
            break
    if len(held) <= room:
        yield bytes(held)
    elif room == max_bytes:
        yield held[:room].decode(errors="ignore").encode()


def checked_max_bytes(max_bytes: Any) -> int | None:
    """Return `max_bytes` if it is a positive whole number or None.

    Raises:
        UserError: if it is anything else.
    """
    if max_bytes is None or (isinstance(max_bytes, int) and not isinstance(max_bytes, bool) and max_bytes > 0):
        return max_bytes
    raise UserError(f"data.max_bytes={max_bytes!r} must be a positive whole number, or null for the whole corpus.")


def _checked_source(split: Split, value: Any) -> Path:
    key = f"data.{split}"
    if value is None:
        raise UserError(f"{key} is missing: name a UTF-8 text file.")
    path = user_path(key, value).absolute()
    if not path.is_file():
        raise UserError(f"{key}={path} is not a file: name a UTF-8 text file.")
    if path.stat().st_size == 0:
        raise UserError(f"{key}={path} is empty: name a UTF-8 text file.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{key}={path} may not be read by you: change its permissions or name another file.")
    return path
