"""What a result depends on besides its command: the code, of which a copy is kept, and the machine.

A comparison takes hours in which its user goes on editing. So its runs see a copy of the code, OUT/code/HASH: the
files that the commands name and all Python files are copied, all else is a link to the original. Nothing secret is
recorded.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmablate.config.credentials import SECRET_NAME
from lmablate.errors import UserError
from lmablate.files import disk_errors_named, sha256
from lmablate.machine import processor_name
from lmablate.referee.arms import ArmCommand

# Folders that hold no code of the user's own.
_FOREIGN = {"__pycache__", "site-packages", "node_modules", "wandb"}
# Files of code, beyond which the user must say where the code is.
_MOST_FILES = 20_000
# Bytes. A larger file is data: it is told by its size and time, and not copied.
_LARGEST = 16 * 2**20
# Variables of the environment that change what a program computes. No other one is recorded.
_PREFIXES = (
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "NUMBA_",
    "TORCH",
    "PYTORCH_",
    "CUBLAS_",
    "CUDA_LAUNCH",
    "XLA_",
    "JAX_",
    "TF_",
)
_NAMES = ("PYTHONHASHSEED", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX")
_ASK_S = 10


def freeze(arms: Sequence[ArmCommand], source: Path, out: Path, code: Sequence[Path] = ()) -> list[ArmCommand]:
    """Return the arms with the hash of their code, and with a copy of it as their source.

    Args:
        arms: the commands; files that they name are code.
        source: the folder in which they were typed; Python files in it and below are code.
        out: the folder of the judge, which is no code.
        code: files and folders that are the code, in place of these.

    Raises:
        UserError: if a path of `code` does not exist, or there are too many files.
    """
    out_typed, source, out = out, source.resolve(), out.resolve()
    named = [Path(word) for arm in arms for word in shlex.split(arm.command)]
    if code:
        files = set(_files_of(code))
    else:
        files = {path.resolve() for path in map(source.joinpath, named) if path.is_file() and not _is_program(path)}
        files |= {found for path in [*files] if path.suffix == ".py" for found in path.parent.glob("*.py")}
        files |= set(_python_files(source, out))
    digest, inside = hashlib.sha256(), dict[Path, Path]()
    for path in sorted(files):
        name = path.relative_to(source) if path.is_relative_to(source) else path
        large = (size := path.stat().st_size) > _LARGEST
        digest.update(f"{name}\0{(size, path.stat().st_mtime_ns) if large else sha256(path)}\n".encode())
        if name != path and not large:
            inside[name] = path
    key = digest.hexdigest()[:16]
    with disk_errors_named("out", out_typed):
        _copy(inside, source, out, out / "code" / key)
    return [replace(arm, code=key, source=out / "code" / key) for arm in arms]


def _copy(files: Mapping[Path, Path], source: Path, out: Path, copy: Path) -> None:
    """Make `copy`, which has the files, by their names in it, and links to all else in `source` but not to `out`."""
    if copy.exists():
        return
    part = copy.with_name(f".{copy.name}.{uuid.uuid4().hex[:8]}.part")
    folders = {Path(), *(parent for name in files for parent in name.parents)}
    for folder in sorted(folders):
        (part / folder).mkdir(parents=True)
        for name in map(folder.joinpath, os.listdir(source / folder)):
            if name in files:
                shutil.copy2(files[name], part / name)
            elif name not in folders and source / name != out:
                (part / name).symlink_to(source / name)
    try:
        part.rename(copy)
    except OSError:  # another judge was faster
        shutil.rmtree(part)
        if not copy.exists():
            raise


def _is_program(path: Path) -> bool:
    """Return whether a file is a program of the system, such as the interpreter, and no script."""
    with path.open("rb") as file:
        return file.read(4) in (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def _files_of(code: Iterable[Path]) -> Iterator[Path]:
    for path in code:
        if path.is_dir():
            yield from (found.resolve() for found in path.rglob("*") if found.is_file())
        elif path.is_file():
            yield path.resolve()
        else:
            raise UserError(f"code={path} is not a file or a folder.")


def _python_files(source: Path, out: Path) -> Iterator[Path]:
    found = 0
    for folder, names, files in os.walk(source):
        here = Path(folder)
        names[:] = [
            name
            for name in names
            if not name.startswith(".") and name not in _FOREIGN and here / name != out
            and not (here / name / "pyvenv.cfg").exists()
        ]  # fmt: skip
        for name in files:
            if name.endswith(".py") and (here / name).is_file():
                found += 1
                if found > _MOST_FILES:
                    raise UserError(f"{source} has more than {_MOST_FILES} Python files: say code=FILE,FOLDER,...")
                yield here / name


def describe_machine_of_runs() -> dict[str, Any]:
    """Return what runs depend on besides command, seed and code; it is a part of their identity."""
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if (name.startswith(_PREFIXES) or name in _NAMES) and not SECRET_NAME.search(name)
    }
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "gpus": sorted(set(_ask("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines())),
        "variables": variables,
    }


def git_commit(source: Path) -> str:
    """Return the commit of a folder, with + if files differ from it; empty if it is in no repository."""
    commit = _ask("git", "-C", str(source), "rev-parse", "HEAD").strip()
    changed = commit and _ask("git", "-C", str(source), "status", "--porcelain", "--untracked-files=no").strip()
    return f"{commit}{'+' if changed else ''}"


def _ask(*command: str) -> str:
    """Return what a program prints; empty if it is not installed, fails or hangs."""
    if shutil.which(command[0]):
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, errors="replace")
            return done.stdout if done.returncode == 0 else ""
    return ""
