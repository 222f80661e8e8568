"""Compile the tokenizer's inner loops with numba, and keep the machine code between runs.

numba's own cache notices an edit only in the file that holds the kernel, not in a helper that the kernel calls from
another file. Therefore the cache folder is named after a hash of *every* source file of `lmablate.tokenizer`, its
subpackages included, and of numba's version. An edit anywhere means a fresh folder, so stale machine code cannot run.

There are three decorators. A `kernel` is called from Python; a `step` is a part of a kernel; an `inline` is a step that
is pasted into its callers.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding as llvm
from numba.core import config

log = logging.getLogger(__name__)

# numba fills this module with settings when it is imported, which a type checker cannot see.
_numba_config: Any = config
# lmablate/tokenizer
_PACKAGE = Path(__file__).parents[1]
# The suffix of the empty file which says that all kernels of one kind are in the cache.
_COMPILED = "compiled"


def _source_hash() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    """Return the folder that the user chose for numba, or else a folder in the user's own cache."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "lmablate"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lmablate" / "numba"


def _open_cache() -> Path | None:
    """Create the folder for this version of the sources; return None if nothing can be written there."""
    try:
        folder = _cache_root() / f"{_source_hash()}-{'vector' if VECTORISED else 'scalar'}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return None


def _has_vector_unit() -> bool:
    """Return whether this processor compares 64 bytes in a few instructions.

    The environment variable LMABLATE_SCALAR=1 makes the answer False.
    """
    features = llvm.get_host_cpu_features()
    return features.get("avx2", False) and os.environ.get("LMABLATE_SCALAR", "0") in ("", "0")


VECTORISED = _has_vector_unit()
CACHE_FOLDER = _open_cache()


@contextmanager
def _numba_caches_in(folder: Path) -> Iterator[None]:
    previous = _numba_config.CACHE_DIR
    _numba_config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _numba_config.CACHE_DIR = previous


def kernel(function: Callable) -> Callable:
    """Compile `function` when Python first calls it; it runs without the interpreter lock, so threads are parallel."""
    if CACHE_FOLDER is None:
        return numba.njit(nogil=True)(function)
    with _numba_caches_in(CACHE_FOLDER):
        return numba.njit(nogil=True, cache=True)(function)


_FOR_KERNELS_ONLY: Any = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def step(function: Callable) -> Callable:
    """Compile a part of a kernel, which Python cannot call."""
    return numba.njit(**_FOR_KERNELS_ONLY)(function)


def inline(function: Callable) -> Callable:
    """Compile a part of a kernel, as `step` does, and have LLVM paste it into its callers."""
    return numba.njit(forceinline=True, **_FOR_KERNELS_ONLY)(function)


_announced: set[str] = set()


@contextmanager
def announced_compilation(kernels: str) -> Iterator[None]:
    """Warn once that kernels are being compiled, unless their machine code is already in the cache.

    Args:
        kernels: the kind of kernels that the block runs, "training" or "encoding".
    """
    done = CACHE_FOLDER / f"{kernels}.{_COMPILED}" if CACHE_FOLDER else None
    if kernels not in _announced and not (done and done.exists()):
        remedy = "once" if done else "anew in every process, since no cache folder can be written"
        log.warning("Compiling the tokenizer's %s kernels (up to half a minute, %s).", kernels, remedy)
    _announced.add(kernels)
    yield
    if done:
        done.touch()
