"""The classes that a config may name: lmablate's own, and those of packages that the user trusts.

A config may come from somebody else. Hydra calls whatever `_target_` names, anywhere in a config, and calls some of it
before our code runs: callbacks, launcher, sweeper, log handlers. So `hydra_patches.check_every_config` passes every
composed config to `refuse_unsafe_config`.

Whom to trust is said by the user, in LMABLATE_TRUST or with --trust, and never by a file.
"""

import ast
import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lmablate.config.project import TRUST, find_project, trusted_packages
from lmablate.errors import UserError

# The modules of lmablate whose classes a config may choose. Classes of other modules write files or start processes.
MODULES = ("data", "diagnostics", "model", "training.optim", "training.schedule", "training.tracking")
TARGET = re.compile(
    rf"(lmablate\.(?:(?:{'|'.join(map(re.escape, MODULES))})(?:\.\w+)*|training))\.(\w+)",
    re.ASCII,
)
# The modules that may define what `lmablate.training` itself offers to a config.
OF_TRAINING = re.compile(r"lmablate\.training\.(optim|schedule)(\.\w+)*", re.ASCII)
# The path of a class: a package, perhaps modules, and a name.
PATH_OF_CLASS = re.compile(r"([^\W\d]\w*\.)+[^\W\d]\w*")
# The only callbacks that a config may have; conf/config.yaml names them.
CALLBACKS = {"failures": {"_target_": "lmablate.config.hydra_entry.ReportFailures"}}


def refuse_foreign_classes(node: Any) -> None:
    """Refuse a `_target_`, at any depth of a plain container, that is not one of lmablate's classes.

    Raises:
        UserError: if there is one; the message names it and what is allowed.
    """
    for target in targets_of(node):
        if not (is_our_class(target) or _is_trusted_class(target)):
            package = target.partition(".")[0]
            may_be_own = PATH_OF_CLASS.fullmatch(target) and package != "lmablate"
            hint = f" If {package} is yours, say so: {TRUST}={package}, or --trust {package}." if may_be_own else ""
            raise UserError(
                f"_target_={target} is refused: a config may only build classes that lmablate defines for it, "
                f"in lmablate.{', '.join(MODULES)}, and those of packages that you trust.{hint}"
            )


def refuse_unsafe_config(cfg: DictConfig) -> None:
    """Refuse a composed config in which Hydra would call anything but lmablate's classes.

    No interpolation is resolved for the check.

    Args:
        cfg: the config with its `hydra` node.

    Raises:
        UserError: if there is such a call; the message names the key.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    hydra = raw.pop("hydra")
    refuse_foreign_classes(raw)
    callbacks = hydra["callbacks"]
    if not isinstance(callbacks, dict) or not callbacks.items() <= CALLBACKS.items():
        raise UserError("hydra.callbacks is refused: a config may not have Hydra call anything.")
    for key in ("launcher", "sweeper"):  # Hydra itself checks that these are launchers and sweepers
        if isinstance(hydra[key], dict) and (nested := next(targets_of([*hydra[key].values()]), None)):
            raise UserError(f"_target_={nested} in hydra.{key} is refused: a config may only name lmablate's classes.")
    for key in ("job_logging", "hydra_logging"):
        if not isinstance(hydra[key], dict) or hydra[key].get("root") is not None:
            raise UserError(f"hydra.{key} is refused: lmablate configures logging itself; a handler may run any code.")
    if hydra["job"]["env_set"]:
        raise UserError("hydra.job.env_set is refused: set environment variables in your shell.")


def targets_of(node: Any) -> Iterator[str]:
    """Yield every `_target_` at any depth of `node`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets_of(child)


def is_our_class(target: str) -> bool:
    """Return whether `target` names a class that one of MODULES defines, or imports from another module of lmablate.

    A path through a module's imports, such as lmablate.model.init.math.exp, does not count.
    """
    if not (match := TARGET.fullmatch(target)):
        return False
    home = _module_of_class(match[1], match[2])
    if match[1] == "lmablate.training":  # which also has classes that write files
        return home is not None and OF_TRAINING.fullmatch(home) is not None
    return home is not None


@lru_cache(1000)
def _module_of_class(module: str, name: str) -> str | None:
    """Return the module of lmablate that defines the class which `module` calls `name`; None if there is no such class.

    The sources are read, since importing them would import torch, which takes longer than all else that shows a config.
    """
    path = Path(__file__).parents[2].joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not source.is_file():
        return None
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lmablate."):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _module_of_class(str(node.module), alias.name)
    return None


def refuse_foreign_package(entry: str) -> None:
    """Refuse an entry of a config's hydra.searchpath by which Hydra would import a package that is not trusted.

    Raises:
        UserError: if it is one.
    """
    package = entry.removeprefix("pkg://").replace("/", ".")
    if entry.startswith("pkg://") and not trusted_by(package):
        hint = f"name it in {TRUST} if it is yours"
        raise UserError(f"hydra.searchpath has {entry}, which would be imported: {hint}.")


def _is_trusted_class(target: str) -> bool:
    """Return whether `target` names a class that a package which the user trusts defines.

    Raises:
        UserError: if the package cannot be imported, or has no such class.
    """
    if not PATH_OF_CLASS.fullmatch(target) or not (package := trusted_by(target)):
        return False
    module, _, name = target.rpartition(".")
    found = getattr(import_trusted(module), name, None)
    if not isinstance(found, type):
        raise UserError(f"_target_={target} does not exist: {module} has no class {name}.")
    return found.__module__ == package or found.__module__.startswith(f"{package}.")


def trusted_by(name: str) -> str | None:
    """Return the trusted package to which a module or class belongs; None if there is none."""
    return next((package for package in trusted_packages() if name.startswith(f"{package}.") or name == package), None)


def import_trusted(module: str) -> ModuleType:
    """Import a module of a package that the user trusts: an installed one, or one in the project's folder.

    Raises:
        UserError: if it cannot be imported; the message says why, and where in the user's code.
    """
    project = find_project()
    folder = str(project.root if project else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # at the end, where it hides nothing that is installed
    try:
        return importlib.import_module(module)
    except SyntaxError as error:
        raise UserError(f"{module} cannot be imported: {error.filename}, line {error.lineno}: {error.msg}.") from None
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UserError(f"{module} does not exist: it is neither installed nor a part of {folder}.") from None
        raise UserError(f"{module} cannot be imported: {error}.") from None
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{module} cannot be imported: {last.filename}, line {last.lineno}: {reason}.") from error
