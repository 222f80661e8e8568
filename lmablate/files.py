"""Text that people write, read by one rule; atomic files, checksums and locks.

A reader never sees half a file; a kill leaves at most a hidden part file.
"""

import codecs
import errno
import hashlib
import io
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from lmablate.errors import UserError

log = logging.getLogger(__name__)

# Bytes. lmablate never writes a larger JSON file.
JSON_LIMIT = 64 * 2**20

# Bytes of text that are decoded at a time.
BLOCK_BYTES = 1 << 20
# Bytes. A larger YAML file is not read.
YAML_LIMIT = 64 * 1024

# Errors by which a file system says that it has no flock.
_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
# Errors of a folder that cannot be made where it is wanted, such as in /proc.
_NO_SUCH_PLACE = {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EISDIR}
# A lease counts as abandoned after this time without a renewal.
_LEASE_SECONDS = 60.0


# A name that may become a part of a path or of a file's name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,-]{0,99}")


class Busy(Exception):
    """Another process holds the lock."""


def checked_name(key: str, name: object) -> str:
    """Return `name`, if a file or a folder may be called so.

    Whatever text of a user becomes a part of a path passes through here, so no name leaves its folder.

    Args:
        key: where the name comes from, for the message.
        name: the name.

    Raises:
        UserError: if it is not text, empty, too long, or has other characters than letters, digits and `_.+=,-`.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    if not isinstance(name, str):
        raise UserError(f"{key}={name} is not allowed: it must be text, so put it in quotes.")
    shown = name if len(name) <= 120 else f"{name[:40]}... ({len(name)} characters)"
    raise UserError(
        f"{key}={shown!r} is not allowed: it names a file, so it must have 1 to 100 letters, digits or _ . + = , - and "
        "begin with a letter, a digit or _."
    )


def checked_experiment(key: str, name: object) -> str:
    """Return `name`, if an experiment may be called so: `experiment=all` stands for all of them.

    Raises:
        UserError: if no file may have the name, or if the name of its table would mean something else.
    """
    name = checked_name(key, name)
    if name == "all" or name.endswith(".runs"):
        raise UserError(f"{key}={name} is not allowed: no experiment may be called all, or end in .runs.")
    return name


def user_path(key: str, path: str | Path) -> Path:
    """Return the path that a user means by `path`, in which `~` stands for the home folder.

    Args:
        key: the argument, for the message.
        path: what was typed.

    Raises:
        UserError: if it is empty, has a NUL character, names the home of a user who does not exist, or is one that no
            file can have: too long, or a circle of links.
    """
    text = os.fsdecode(str(path).encode("utf-8", "surrogateescape"))  # Python's own form under an ASCII locale
    if not text or "\0" in text:
        raise UserError(f"{key}={text!r} is not a path.")
    try:
        found = Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{key}={text} is not allowed: there is no such user's home folder.") from None
    try:
        os.stat(found)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{key}={text} is not allowed: {os.strerror(error.errno).lower()}.") from None
    return found


def text_blocks(source: io.BufferedIOBase, origin: str, errors: str = "strict") -> Iterator[str]:
    """Yield the text of `source`: UTF-8, without a byte order mark, and each line ends in a line feed.

    This is the one rule by which text of a user is read. A carriage return, alone or before a line feed, ends a line.

    Args:
        source: the bytes.
        origin: the file, perhaps with its key, for the message.
        errors: how to treat bytes that are not UTF-8, as in `bytes.decode`.

    Raises:
        UserError: if the text is not UTF-8; the message has the offset of the first bad byte.
    """
    characters = codecs.getincrementaldecoder("utf-8")(errors)
    lines = io.IncrementalNewlineDecoder(characters, translate=True)
    offset, started, last = 0, False, False
    while not last:
        held = len(characters.getstate()[0])
        block = source.read(BLOCK_BYTES)
        last = not block
        try:
            text = lines.decode(block, final=last)
        except UnicodeDecodeError as error:
            at = offset - held + error.start
            raise UserError(
                f"{origin} is not UTF-8: byte {at} does not belong to a character. Save it as UTF-8."
            ) from None
        offset += len(block)
        if text:
            yield text if started else text.removeprefix("\ufeff")
            started = True


def read_text(path: Path, origin: str = "") -> str:
    """Return the text of a file, read by the rule of `text_blocks`; `origin` stands for the path in the message."""
    with path.open("rb") as source:
        return "".join(text_blocks(source, origin or str(path)))


def read_lines(path: Path, origin: str = "") -> list[str]:
    """Return the lines of a text, without their ends. Only a line end ends one: a form feed is a character of it."""
    text = read_text(path, origin)
    return text.removesuffix("\n").split("\n") if text else []


class _PlainLoader(yaml.BaseLoader):
    """Reads every value of YAML as the text that was typed, so that no spelling has a meaning of its own.

    YAML's types are traps: `1e-3` is text, `1:30` is 90, `010` is 8 and `no` is false. Here the key decides what a
    value is. Aliases are refused, because they can make a small file expand without bound.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise yaml.YAMLError(f"key {twice!r} is given twice")
        return found


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file that a person writes: mappings, lists, and text as it was typed.

    Raises:
        UserError: if the file is larger than YAML_LIMIT, is not UTF-8 or not YAML, or gives a key twice.
        OSError: if it cannot be read.
    """
    if (size := path.stat().st_size) > YAML_LIMIT:
        raise UserError(f"{path}: such a file may have at most {YAML_LIMIT} bytes, not {size}.")
    text = read_text(path)
    try:
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: this is not valid YAML: {reason}.") from None


def shown_path(path: Path) -> Path:
    """Return a path as it is printed: relative, if it lies in the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


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


def append_json_line(path: Path, value: Any) -> None:
    """Append `value` to a file of JSON lines, and flush it to disk; a half line that a kill left is cut off before.

    Only one process may append at a time: hold a lock.
    """
    new = not path.exists()
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - BLOCK_BYTES))  # no line is longer
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
        file.write(json.dumps(value, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        fsync_folder(path.parent)


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a file of JSON lines, without a half line at its end; empty if there is no such file.

    Raises:
        UserError: if a whole line is not JSON.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path} is damaged: line {number} is not JSON.") from None
    return values


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
