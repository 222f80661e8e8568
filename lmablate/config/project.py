"""The user's own project: where its yaml files are, and whose code its user trusts.

A project is a folder with a pyproject.toml that has a section for lmablate. All keys are optional:

    [tool.lmablate]
    conf = "conf"                          # the folder of its yaml files, which are found before lmablate's
    title = "Position encodings, again"    # of the page that `lmablate.report` writes
    question = "Which one extrapolates?"

A command finds the project of the folder in which it is typed, from any folder below it. Whom to trust is never said in
a file, which may come from somebody else, but by the user: in LMABLATE_TRUST, or with --trust.
"""

import argparse
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from omegaconf import OmegaConf

from lmablate.config.schema import CONF
from lmablate.errors import UserError
from lmablate.files import read_text, user_path

TRUST = "LMABLATE_TRUST"
_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Project:
    """A user's project.

    Attributes:
        root: its folder.
        conf: the folder of its yaml files, which may be missing.
        title: the title of its report; empty for none.
        question: what it wants to find out; empty for none.
    """

    root: Path
    conf: Path
    title: str = ""
    question: str = ""


def find_project() -> Project | None:
    """Return the project of the current folder, or of the nearest folder above that has one; None if there is none.

    Raises:
        UserError: if its pyproject.toml cannot be read, or its section has an unknown key.
    """
    folder = Path.cwd()
    for root in (folder, *folder.parents):
        path = root / "pyproject.toml"
        if path.is_file() and "[tool.lmablate]" in (text := read_text(path)):
            return _read_project(path, text)
    return None


def _read_project(path: Path, text: str) -> Project | None:
    try:
        section = tomllib.loads(text).get("tool", {}).get("lmablate")
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if section is None:  # only mentioned, in a comment
        return None
    for key, value in section.items():
        if key not in ("conf", "title", "question"):
            raise UserError(f"{path}: tool.lmablate.{key} is not known: the keys are conf, title and question.")
        if not isinstance(value, str):
            raise UserError(f"{path}: tool.lmablate.{key}={value} is not allowed: it must be text.")
    conf = path.parent / section.get("conf", "conf")
    return Project(path.parent, conf, section.get("title", ""), section.get("question", ""))


def default_path(name: str | Path) -> Path:
    """Return the path that a command uses unless it is told another: in the project, or else in the current folder."""
    project = find_project()
    return project.root / name if project else Path(name)


# The default folders of the schema: ${in_project:runs}.
OmegaConf.register_new_resolver("in_project", lambda name: str(default_path(name)), replace=True)

# The folder that --config-dir names.
_typed_folders: list[Path] = []
# Not empty within `searched_by_us`.
_searches: list[bool] = []


def conf_folders() -> list[Path]:
    """Return the folders of yaml files, the user's own first: of --config-dir, of the project, of lmablate."""
    project = find_project()
    of_project = [project.conf] if project and project.conf.is_dir() else []
    return [*_typed_folders, *of_project, CONF]


@contextmanager
def searched_by_us() -> Iterator[None]:
    """Let Hydra, which lmablate calls in the block, search `conf_folders` for configs."""
    _searches.append(True)
    try:
        yield
    finally:
        _searches.pop()


def searches() -> bool:
    """Return whether it is lmablate that searches for configs, and not another program that uses Hydra."""
    return bool(_searches)


def claims_folder() -> Path:
    """Return the folder of the claims: the user's own, if there is a project or a --config-dir, or else lmablate's."""
    own = [folder for folder in conf_folders() if folder != CONF]
    with_claims = [folder for folder in own if (folder / "claim").is_dir()]
    return ([*with_claims, *own] or [CONF])[0] / "claim"


def find_yaml(name: str) -> Path | None:
    """Return the first file of this name in `conf_folders`, such as "experiment/aa.yaml"; None if there is none."""
    return next((folder / name for folder in conf_folders() if (folder / name).is_file()), None)


def yaml_files(group: str) -> dict[str, Path]:
    """Return the files of a group, such as "model/pos", by the name of the option; the user's own come first."""
    files: dict[str, Path] = {}
    for folder in conf_folders():
        for path in sorted((folder / group).glob("*.yaml")):
            files.setdefault(path.stem, path)
    return files


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"The command line cannot be read: {message}.")


def take_trust(arguments: Sequence[str]) -> list[str]:
    """Add each --trust PACKAGE to LMABLATE_TRUST, where the processes of a sweep see it too; return the rest.

    Raises:
        UserError: if the flag has no value, or the variable one that is not allowed.
    """
    parser = _Flags(add_help=False, allow_abbrev=False)
    parser.add_argument("--trust", action="append", default=[])
    typed, rest = parser.parse_known_args(list(arguments))
    for package in typed.trust:
        os.environ[TRUST] = ",".join(filter(None, [os.environ.get(TRUST), package]))
    trusted_packages()
    return rest


def take_config_dir(arguments: Sequence[str]) -> list[str]:
    """Obey --config-dir of a command that composes no config, and return the other arguments.

    Raises:
        UserError: if it has no value, is no folder, or is given twice.
    """
    parser = _Flags(add_help=False, allow_abbrev=False)
    parser.add_argument("-cd", "--config-dir", action="append", default=[])
    typed, rest = parser.parse_known_args(list(arguments))
    if len(typed.config_dir) > 1:
        raise UserError("--config-dir is given twice.")
    use_config_dir(typed_folder("config_dir", typed.config_dir[0]) if typed.config_dir else None)
    return rest


def typed_folder(key: str, value: str) -> str:
    """Return the absolute path of a folder that a flag names.

    Raises:
        UserError: if it is not a folder.
    """
    flag = f"--{key.replace('_', '-')}"
    path = user_path(flag, value).absolute()
    if not path.is_dir():
        raise UserError(f"{flag} {value} is not a folder.")
    return str(path)


def use_config_dir(folder: str | None) -> None:
    """Let `conf_folders` begin with this folder, until the next call."""
    _typed_folders[:] = [Path(folder)] if folder else []


def trusted_packages() -> tuple[str, ...]:
    """Return the packages whose classes a config may name, from LMABLATE_TRUST: names with commas between them.

    Raises:
        UserError: if one of them is no name of a package.
    """
    names = [name.strip() for name in os.environ.get(TRUST, "").split(",") if name.strip()]
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise UserError(f"{TRUST}={name} is not allowed: it must be the names of packages, as in mypkg,other.")
    return tuple(dict.fromkeys(names))
