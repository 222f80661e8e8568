"""Compile the tokenizer's inner loops with numba, and keep the machine code between runs.

numba's own cache notices an edit only in the file that holds the kernel, not in a helper that the kernel
calls from another file. So the folder is named after a hash of *every* source file of this package (and of
numba's version): an edit anywhere means a fresh folder, and stale code cannot run.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding as llvm
from numba.core import config

# numba fills this module with settings when it is imported, which a type checker cannot see.
numba_config: Any = config
logger = logging.getLogger("lmablate.tokenizer")

_PACKAGE = Path(__file__).parent
_COMPILED = "compiled"


def _source_hash() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_PACKAGE.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    """The folder that the user chose for numba, or else their own cache folder."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "lmablate"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lmablate" / "numba"


def _open_cache() -> Path | None:
    """Create the folder for this version of the sources; None where nothing can be written."""
    try:
        folder = _cache_root() / f"{_source_hash()}-{'vector' if VECTORISED else 'scalar'}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return None


def _has_vector_unit() -> bool:
    """Whether 64 bytes are compared in a few instructions here; LMABLATE_SCALAR=1 (environment) denies it."""
    features = llvm.get_host_cpu_features()
    return features.get("avx2", False) and os.environ.get("LMABLATE_SCALAR", "0") in ("", "0")


VECTORISED = _has_vector_unit()
CACHE_FOLDER = _open_cache()


@contextmanager
def _numba_caches_in(folder: Path):
    previous = numba_config.CACHE_DIR
    numba_config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba_config.CACHE_DIR = previous


def kernel(function: Callable) -> Callable:
    """Compile `function` when Python first calls it; it runs without the interpreter lock, in parallel."""
    if CACHE_FOLDER is None:
        return numba.njit(nogil=True)(function)
    with _numba_caches_in(CACHE_FOLDER):
        return numba.njit(nogil=True, cache=True)(function)


_FOR_KERNELS_ONLY: Any = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def step(function: Callable) -> Callable:
    """Compile a part of a kernel, which Python cannot call."""
    return numba.njit(**_FOR_KERNELS_ONLY)(function)


def inline(function: Callable) -> Callable:
    """Like `step`; LLVM is told to paste it into its callers."""
    return numba.njit(forceinline=True, **_FOR_KERNELS_ONLY)(function)


@contextmanager
def announced_compilation(what: str):
    """Say once that `what` is being compiled, unless its machine code is already in the cache."""
    done = CACHE_FOLDER / f"{what}.{_COMPILED}" if CACHE_FOLDER else None
    if what not in _announced and not (done and done.exists()):
        remedy = "once" if done else "anew in every process, since no cache folder can be written"
        logger.warning("Compiling the tokenizer's %s kernels (up to half a minute, %s).", what, remedy)
    _announced.add(what)
    yield
    if done:
        done.touch()


_announced: set[str] = set()
