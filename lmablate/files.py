"""Writing files so that a reader, or a kill, never meets half of one."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

JSON_LIMIT = 64 * 2**20
"""Bytes; a JSON file of ours that is larger is not ours."""


def fsync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` as a whole: a part file, flushed to the disk, then renamed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    fsync_folder(path.parent)


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
