"""Memory-mapped token files, and the batches that are cut from them.

A token file `train.bin` holds little-endian uint16 ids and nothing else; `train.json` beside it is its
manifest. Batches are pure functions of their arguments, so resuming a run has no reading position to restore.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lmablate.errors import UserError
from lmablate.files import COUNT, SHA256, read_record, sha256, write_json

TOKEN = np.dtype("<u2")
FORMAT_VERSION = 1
REMEDY = "delete it and prepare the data again."

MANIFEST_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "format_version",
        "file",
        "sha256",
        "tokens",
        "text_bytes",
        "text_sha256",
        "tokenizer",
        "source",
    ],
    "properties": {
        "format_version": {"const": FORMAT_VERSION},
        "file": {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\Z"},
        "sha256": SHA256,
        "tokens": COUNT,
        "text_bytes": COUNT,
        "text_sha256": SHA256,
        "tokenizer": {"type": "string", "minLength": 1, "maxLength": 200},
        "source": {"type": "object"},
    },
}

# Token ids, [n_tokens]: of any whole type, and in memory or in a file that is mapped into it.
Tokens = Sequence[int] | np.ndarray | Tensor
Batch = tuple[Int64[Tensor, "batch time"], Int64[Tensor, "batch time"]]


@dataclass(frozen=True)
class Manifest:
    """The content of a token file, and its origin.

    Attributes:
        file: name of the token file in the manifest's own folder.
        sha256: SHA-256 of the token file.
        tokens: number of ids.
        text_bytes: UTF-8 bytes of the text that the ids encode; bits per byte need it.
        text_sha256: SHA-256 of that text.
        tokenizer: the tokenizer's fingerprint.
        source: the corpus's identity.
        format_version: version of the token file and of this record.
    """

    file: str
    sha256: str
    tokens: int
    text_bytes: int
    text_sha256: str
    tokenizer: str
    source: dict[str, Any]
    format_version: int = FORMAT_VERSION

    def save(self, path: Path | str) -> None:
        """Write the manifest to `path` as JSON."""
        write_json(Path(path), asdict(self))

    @classmethod
    def load(cls, path: Path | str) -> "Manifest":
        """Read and validate a manifest.

        Raises:
            UserError: if it is missing, oversized or malformed, or names a file outside its folder.
        """
        return cls(**read_record(Path(path), MANIFEST_SCHEMA, "prepare the data again"))


@dataclass(frozen=True)
class TokenFile:
    """A token file and its manifest.

    Attributes:
        path: the token file.
        manifest: its validated manifest.
    """

    path: Path
    manifest: Manifest

    @property
    def n_tokens(self) -> int:
        """Number of ids."""
        return self.manifest.tokens

    @property
    def bytes_per_token(self) -> float:
        """Mean UTF-8 bytes of text per token. Bits per byte are nats per token / (ln 2 x bytes_per_token)."""
        return self.manifest.text_bytes / self.manifest.tokens if self.manifest.tokens else math.nan

    @cached_property
    def array(self) -> np.ndarray:
        """The ids, uint16 of shape [n_tokens], memory-mapped and read-only."""
        # A file without tokens cannot be mapped.
        return np.memmap(self.path, dtype=TOKEN, mode="r") if self.manifest.tokens else np.empty(0, TOKEN)


def open_tokens(path: Path | str, verify: bool = False) -> TokenFile:
    """Open a token file by its path.

    Args:
        path: the token file; its manifest stands beside it.
        verify: also compare the file's SHA-256 with the manifest's, which reads the whole file.

    Raises:
        UserError: if the file or its manifest is missing or malformed, or if they do not belong together.
    """
    path = Path(path)
    manifest = Manifest.load(path.with_suffix(".json"))
    if manifest.file != path.name:
        raise UserError(f"{path.with_suffix('.json')} describes {manifest.file}, not {path.name}.")
    if not path.is_file():
        raise UserError(f"The token file {path} is missing, though its manifest exists: prepare the data again.")
    expected = manifest.tokens * TOKEN.itemsize
    if (size := path.stat().st_size) != expected:
        raise UserError(f"The token file {path} is corrupted: it has {size} bytes instead of {expected}; {REMEDY}")
    if verify and (digest := sha256(path)) != manifest.sha256:
        raise UserError(
            f"The token file {path} is corrupted: its sha256 is {digest}, "
            f"but its manifest has {manifest.sha256}; {REMEDY}"
        )
    return TokenFile(path, manifest)


class Batches:
    """Training batches: each is a pure function of (seed, step), the same for all arms of an ablation.

    Each row of a batch is a window of the text. The windows' starts come from the counter-based generator Philox
    (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed with (seed, step). Its raw 64-bit draws
    are taken modulo the number of starts, with a bias below n_starts / 2**64. NumPy promises the same raw stream in
    all versions, but does not promise that its distributions stay the same.

    Args:
        tokens: integer ids, shape [n_tokens]: a list, an array, a mapped file or a tensor.
        context_length: tokens per row of a batch.
        batch_size: rows of the global batch.
        seed: between 0 and 2**64 - 1.

    Raises:
        UserError: if there are fewer than context_length + 1 tokens, or a number is out of range.
    """

    def __init__(self, tokens: Tokens, context_length: int, batch_size: int, seed: int):
        self.tokens = as_ids(tokens)
        _check_length(self.tokens, context_length)
        _check_whole("train.batch_size", batch_size, least=1)
        _check_whole("seed", seed, least=0, most=2**64 - 1)
        self.context_length = context_length
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Return the inputs and targets of one step.

        Args:
            step: the step's number, from 0.
            rank: this process; it gets the rows rank, rank + world_size, ... of the global batch.
            world_size: number of processes that share the global batch.

        Returns:
            Inputs x and targets y, int64 of shape [batch, time]; y[:, t] follows x[:, t] in the text.

        Raises:
            UserError: if a number is out of range.
        """
        _check_whole("step", step, least=0, most=2**64 - 1)
        _check_whole("world_size", world_size, least=1)
        _check_whole("rank", rank, least=0, most=world_size - 1)
        philox = np.random.Philox(key=np.array([self.seed, step], dtype=np.uint64))
        n_starts = len(self.tokens) - self.context_length
        starts = (philox.random_raw(self.batch_size) % np.uint64(n_starts)).astype(np.int64)
        return _rows(self.tokens, starts[rank::world_size], self.context_length)


class EvalBatches:
    """Fixed validation batches: evenly spaced windows without overlap, the same for all runs.

    A file with fewer than batch_size * n_batches windows yields all that it has, and the last batch may be short. A
    mean over the batches must therefore weight each one by its number of targets.

    Args:
        tokens: integer ids, shape [n_tokens]: a list, an array, a mapped file or a tensor.
        context_length: tokens per row of a batch.
        batch_size: rows of a batch.
        n_batches: the most batches.

    Raises:
        UserError: if there are fewer than context_length + 1 tokens, or a number is out of range.
    """

    def __init__(self, tokens: Tokens, context_length: int, batch_size: int, n_batches: int):
        self.tokens = as_ids(tokens)
        _check_length(self.tokens, context_length)
        _check_whole("train.batch_size", batch_size, least=1)
        _check_whole("train.eval_batches", n_batches, least=1)
        n_windows = (len(self.tokens) - 1) // context_length
        n_used = min(n_windows, batch_size * n_batches)
        self.context_length = context_length
        self.batch_size = batch_size
        self.starts = np.arange(n_used, dtype=np.int64) * n_windows // n_used * context_length

    def __len__(self) -> int:
        return -(-len(self.starts) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, len(self.starts), self.batch_size):
            yield _rows(self.tokens, self.starts[first : first + self.batch_size], self.context_length)


def windows(tokens: Tokens, context_length: int, batch_size: int = 1) -> Iterator[Batch]:
    """Yield the whole text once, in windows: every token but the first is a target exactly once.

    Args:
        tokens: integer ids, shape [n_tokens]: a list, an array, a mapped file or a tensor.
        context_length: tokens per window.
        batch_size: windows per batch.

    Yields:
        Inputs and targets of shape [batch, context_length]. The rest of the text, too short for a window, comes last
        with shape [1, rest].

    Raises:
        UserError: if there are fewer than context_length + 1 tokens, or a number is out of range.
    """
    ids = as_ids(tokens)
    _check_length(ids, context_length)
    _check_whole("batch_size", batch_size, least=1)
    n_windows, rest = divmod(len(ids) - 1, context_length)
    starts = np.arange(n_windows, dtype=np.int64) * context_length
    for first in range(0, n_windows, batch_size):
        yield _rows(ids, starts[first : first + batch_size], context_length)
    if rest:
        yield _rows(ids, np.array([n_windows * context_length]), rest)


def as_ids(tokens: Tokens, name: str = "tokens") -> np.ndarray:
    """Return token ids as an array; a mapped file stays one.

    Args:
        tokens: the ids.
        name: what the message calls them.

    Raises:
        UserError: if they are not whole numbers in one dimension.
    """
    try:
        ids = np.asanyarray(tokens.numpy(force=True) if isinstance(tokens, Tensor) else tokens)
        found = f"{ids.dtype} in the shape {list(ids.shape)}"
    except (TypeError, ValueError) as error:  # lists of unequal length, and types that numpy does not have
        ids, found = None, f"no array: {error}"
    if ids is None or ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise UserError(
            f"{name} must be whole numbers in one dimension (a list, an array or a tensor), but are {found}."
        )
    return ids


def _rows(tokens: np.ndarray, starts: np.ndarray, length: int) -> Batch:
    rows = torch.from_numpy(tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def check_lengths(train: np.ndarray, valid: np.ndarray, context_length: int) -> None:
    """Check that both splits are long enough for one row of a batch.

    Raises:
        UserError: if one has fewer than context_length + 1 tokens.
    """
    for tokens in (train, valid):
        _check_length(tokens, context_length)


def _check_length(tokens: np.ndarray, context_length: int) -> None:
    _check_whole("model.context_length", context_length, least=1)
    if len(tokens) <= context_length:
        raise UserError(
            f"The text has {len(tokens)} tokens, but model.context_length={context_length} "
            f"needs at least {context_length + 1}."
        )


def _check_whole(key: str, value: int, least: int, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        limits = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise UserError(f"{key}={value!r} is not allowed: it must be a whole number, {limits}.")
