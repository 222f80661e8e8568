"""Large files that are whole or absent, and folders that one process fills at a time."""

import errno
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from lmablate.errors import UserError
from lmablate.files import fsync_folder

log = logging.getLogger(__name__)

NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
LEASE_SECONDS = 60.0


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a part file that takes the place of `path`, flushed to disk, if the block ends without an error.

    The part file's name is unique: a holder whose lease expired cannot write into its successor's file.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block, waiting for another process as long as that one lives.

    The kernel drops an flock with its holder. A file system without flock gets a lease instead, which its
    holder renews, and which a waiting process takes over once it has gone unrenewed for a minute.
    """
    try:
        lock = _acquire(FileLock(path, fallback_to_soft=False))
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        lock = _acquire(SoftFileLease(path.with_suffix(".lease"), lease_duration=LEASE_SECONDS))
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock) -> BaseFileLock:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process is at work in %s: waiting for it", Path(lock.lock_file).parent)
        lock.acquire(poll_interval=0.2)
    return lock


@contextmanager
def disk_errors_named(key: str, folder: Path | str) -> Iterator[None]:
    """Turn a full disk and a folder that cannot be written to into a sentence that names the key `key`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{key}={folder} has no space left: free some, or name another folder."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"{key}={folder} cannot be written to: {error.strerror}.") from error
        raise
