"""Atomic files, checksums and locks. A reader never sees half a file; a kill leaves at most a hidden part file."""

import errno
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from lmablate.errors import UserError

log = logging.getLogger(__name__)

# Bytes. lmablate never writes a larger JSON file.
JSON_LIMIT = 64 * 2**20

# Errors by which a file system says that it has no flock.
_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
# A lease counts as abandoned after this time without a renewal.
_LEASE_SECONDS = 60.0


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a part file that replaces `path`, flushed to disk, when the block ends without an error.

    The name of the part file is unique, so a process whose lock has expired cannot write into its successor's
    file. The name begins with a dot, so a part file that a kill left behind is not taken for a finished one.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        publish(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def publish(part: Path, path: Path) -> None:
    """Flush the finished file `part` to disk, then rename it to `path` in one atomic step."""
    fsync_file(part)
    os.replace(part, path)
    fsync_folder(path.parent)


def fsync_file(path: Path) -> None:
    """Flush the content of a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Flush `folder` itself, so that a rename inside it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file `path` by `data` atomically."""
    with atomic_write(path) as part:
        part.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Replace the file `path` atomically by `value` as JSON, with sorted keys."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`.

    Raises:
        ValueError: if the file is not JSON, or larger than JSON_LIMIT.
        OSError: if it cannot be read.
    """
    if path.stat().st_size > JSON_LIMIT:
        raise ValueError(f"{path} is larger than {JSON_LIMIT} bytes")
    return json.loads(path.read_bytes())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def disk_errors_named(key: str, folder: Path | str) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written to, into a UserError that names the config key `key`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{key}={folder} has no space left: free some, or name another folder.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"{key}={folder} cannot be written to: {error.strerror}.") from error
        raise


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock file `path` during the block.

    The kernel releases an flock when its process ends. A file system without flock gets a lease instead: its
    holder renews it, and another process takes it over after a minute without a renewal.

    Args:
        path: the lock file.
        timeout: seconds to wait for another holder; negative waits as long as that process lives.

    Raises:
        Busy: if another process still holds the lock after `timeout`.
    """
    try:
        lock = _acquire(FileLock(path, fallback_to_soft=False), timeout)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        lock = _acquire(SoftFileLease(path.with_suffix(".lease"), lease_duration=_LEASE_SECONDS), timeout)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, timeout: float) -> BaseFileLock:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        folder = Path(lock.lock_file).parent
        log.info("another process is at work in %s: waiting for it", folder)
        try:
            lock.acquire(timeout=timeout, poll_interval=0.2)
        except Timeout as error:
            raise Busy(f"another process is at work in {folder}") from error
    return lock
