"""Files that a reader never sees half, and what may be replaced.

A kill leaves at most a hidden part file.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmablate.errors import UserError

# Errors of a folder that cannot be made where it is wanted, such as in /proc.
_NO_SUCH_PLACE = {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EISDIR}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a part file that replaces `path`, flushed to disk, when the block ends without an error.

    The name of the part file is unique, so a process whose lock has expired cannot write into its successor's
    file. The name begins with a dot, so a part file that a kill left behind is not taken for a finished one.
    """
    if path.is_dir():  # even through a link, which the rename would replace
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        publish(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def refuse_foreign(
    key: str, paths: Iterable[Path], is_ours: Callable[[Path], bool], what: str, overwrite: bool
) -> None:
    """Refuse to replace what is not ours: this is the one rule about files that exist already.

    A command replaces a file only by a newer version of itself: lmablate wrote it, and it belongs to the same study.

    Args:
        key: the argument that names the files or their folder.
        paths: what is to be written.
        is_ours: whether a file that exists is an older version of the one to be written.
        what: that version in words, such as "a figure of lmablate".
        overwrite: whether to replace any file; a folder, a device or a pipe is never replaced.

    Raises:
        UserError: if one exists and is not ours, or is no regular file, or has to be in what is no folder.
    """
    for path in paths:
        if path.is_dir():
            raise UserError(f"{key}: {path} is a folder, and a file cannot replace it.")
        if path.exists() and not path.is_file():
            raise UserError(f"{key}: {path} is a device or a pipe, and a file cannot replace it.")
        nearest = next(parent for parent in path.absolute().parents if os.path.exists(parent))
        if not os.path.isdir(nearest):
            raise UserError(f"{key}: {path} cannot be written, because {nearest} is a file.")
        replaceable = overwrite or not path.exists() or is_ours(path)
        if not replaceable:
            raise UserError(f"{path} exists already and is not {what}: name another {key}=..., or add overwrite=true.")


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


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lies_on_the_way(path: object, folder: Path | str) -> bool:
    """Return whether a path that an error names is `folder`, above it, or in it."""
    if not isinstance(path, str | Path):
        return False
    wanted, found = Path(folder).absolute(), Path(path).absolute()
    return wanted.is_relative_to(found) or found.is_relative_to(wanted)


@contextmanager
def disk_errors_named(key: str, folder: Path | str) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written to, into a UserError that names the config key `key`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{key}={folder} has no space left: free some, or name another folder.") from error
        unusable = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
        if error.errno in unusable or (error.errno in _NO_SUCH_PLACE and _lies_on_the_way(error.filename, folder)):
            raise UserError(f"{key}={folder} cannot be written to: {error.strerror}.") from error
        raise
