"""Writing files so that a reader, or a kill, never meets half of one."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmablate.errors import UserError

JSON_LIMIT = 64 * 2**20
"""Bytes; a JSON file of ours that is larger is not ours."""


def fsync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a part file that takes the place of `path`, flushed to disk, if the block ends without an error.

    The part file's name is unique: a holder whose lease expired cannot write into its successor's file. It is
    hidden: what a kill leaves behind must not be taken for a file of its folder.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        publish(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def publish(part: Path, path: Path) -> None:
    """Flush the finished file `part` to disk, then give it the name `path` in one indivisible step."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    fsync_folder(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` as a whole."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in `path`. Raises ValueError where it is no JSON or too large to be ours."""
    if path.stat().st_size > JSON_LIMIT:
        raise ValueError(f"{path} is larger than {JSON_LIMIT} bytes")
    return json.loads(path.read_bytes())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def disk_errors_named(key: str, folder: Path | str) -> Iterator[None]:
    """Turn a full disk and a folder that cannot be written to into a sentence that names the key `key`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{key}={folder} has no space left: free some, or name another folder.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"{key}={folder} cannot be written to: {error.strerror}.") from error
        raise
