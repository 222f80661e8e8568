"""Folders that one process works in at a time."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

log = logging.getLogger(__name__)

NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
LEASE_SECONDS = 60.0


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, patience: float = -1) -> Iterator[None]:
    """Hold the lock file `path` for the block.

    Where another process has it, wait for `patience` seconds and then raise Busy; a negative patience waits for
    as long as that process lives.

    The kernel drops an flock with its holder. A file system without flock gets a lease instead, which its
    holder renews, and which the next process takes over once it has gone unrenewed for a minute.
    """
    try:
        lock = acquire(FileLock(path, fallback_to_soft=False), patience)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        lock = acquire(SoftFileLease(path.with_suffix(".lease"), lease_duration=LEASE_SECONDS), patience)
    try:
        yield
    finally:
        lock.release()


def acquire(lock: BaseFileLock, patience: float) -> BaseFileLock:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        folder = Path(lock.lock_file).parent
        log.info("another process is at work in %s: waiting for it", folder)
        try:
            lock.acquire(timeout=patience, poll_interval=0.2)
        except Timeout as error:
            raise Busy(f"another process is at work in {folder}") from error
    return lock
