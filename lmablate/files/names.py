"""Paths that people type, and names that become a part of one."""

import errno
import os
import re
from pathlib import Path

from lmablate.errors import UserError

# A name that may become a part of a path or of a file's name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,-]{0,99}")


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


def shown_path(path: Path) -> Path:
    """Return a path as it is printed: relative, if it lies in the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
