"""Locks between processes, on every file system."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

log = logging.getLogger(__name__)

# Errors by which a file system says that it has no flock.
_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
# A lease counts as abandoned after this time without a renewal.
_LEASE_SECONDS = 60.0


class Busy(Exception):
    """Another process holds the lock."""


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
