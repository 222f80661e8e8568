"""Begin a project of your own: `python -m lmablate.new DIR`.

DIR gets a package with one variant of its own, conf/ with an experiment and two claims, a notebook, a test, a Makefile
and a README. All commands find its conf/, runs/ and data/ from any folder in it. The package is called like DIR.

  python -m lmablate.new positions
      then: cd positions && make test && make ablation
  python -m lmablate.new ~/work/my_ablation
      a project elsewhere, with the package my_ablation
"""

import importlib.util
import keyword
import sys
from importlib import resources
from importlib.resources.abc import Traversable

from jinja2 import Environment, StrictUndefined

from lmablate.config.hydra_entry import run_override_command
from lmablate.errors import UserError
from lmablate.files import user_path, write_bytes

TEMPLATE = resources.files("lmablate") / "template"


def new(arguments: list[str]) -> None:
    """Write the project, and print what to do next.

    Raises:
        UserError: if the folder is not empty, or no package may be called like it.
    """
    if len(arguments) != 1 or "=" in arguments[0]:
        raise UserError("new wants one argument, the folder of the project: python -m lmablate.new DIR.")
    folder = user_path("DIR", arguments[0]).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already and is not an empty folder.")
    package = _checked_package(folder.name)
    pages = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    for name, source in _files(TEMPLATE):
        text = pages.from_string(source.read_text(encoding="utf-8")).render(package=package)
        path = folder / name.replace("PACKAGE", package)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())
    print(f"{folder}\nnext: cd {arguments[0]} && make test && make ablation")


def _checked_package(name: str) -> str:
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or name != name.lower():
        rule = "lower-case letters, digits and _, and no word of Python"
        raise UserError(f"{name!r} cannot be the name of the folder: the package is called like it, so it has {rule}.")
    spec = None if name in sys.stdlib_module_names else importlib.util.find_spec(name)
    if name in sys.stdlib_module_names or (spec and spec.origin):
        raise UserError(f"{name} is the name of a package that is installed already: choose another folder.")
    return name


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    """Return the files of the template, by the path that each gets in a project."""
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".jinja"):
            name = entry.name.removesuffix(".jinja")
            found.append((prefix + {"gitignore": ".gitignore"}.get(name, name), entry))
    return found


if __name__ == "__main__":
    run_override_command(new)
