"""Compile kernels.c once on a machine, and load it. Without a C compiler there are no kernels; torch's forms run."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.c")
# No errno and no traps: a square root or a division then is one instruction. Both keep every value as it is.
OPTIONS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC"]

_POINTER, _INT, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float
# How many pointers, sizes and floats each kernel takes; the number of threads is always the last argument.
_ARGUMENTS = {
    "attention_forward": (5, 4, 1),
    "attention_backward": (9, 4, 1),
    "turn_pairs": (3, 4, 1),
    "swiglu_forward": (3, 1, 0),
    "swiglu_backward": (5, 1, 0),
    "rms_norm_forward": (4, 2, 1),
    "rms_norm_backward": (6, 3, 0),
    "cross_entropy_rows": (3, 2, 1),
    "adamw_step": (4, 1, 6),
}


@lru_cache(maxsize=1)
def kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels; None, with a warning, if they cannot be compiled here."""
    try:
        library = ctypes.CDLL(str(_compiled(os.environ.get("CC") or "cc")))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        log.warning(
            "No CPU kernels, so a step on a CPU takes about a fifth longer: "
            "a C compiler named cc (or in CC) makes them. %s",
            detail,
        )
        return None
    for name, (pointers, sizes, floats) in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes = [_POINTER] * pointers + [_LONG] * sizes + [_FLOAT] * floats + [_INT]
        function.restype = None
    return library


def _compiled(compiler: str) -> Path:
    """Return the library's file, made if it is not in the user's cache.

    Its name hashes all that its bits depend on: the source, the options, the compiler and the processor's instructions.
    """
    program = shutil.which(compiler)
    if program is None:
        raise OSError(f"There is no {compiler}.")
    binary = os.stat(program)
    parts = [SOURCE.read_text(), *OPTIONS, os.path.realpath(program), binary.st_size, binary.st_mtime, _instructions()]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home) / "lmablate" / "kernels" / f"{key}.so"
    if not path.exists():
        log.info("compiling the CPU kernels, once on this machine (some seconds)")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # another process may do the same
            made = Path(folder) / path.name
            command = [program, *OPTIONS, str(SOURCE), "-o", str(made), "-lm"]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            made.replace(path)
    return path


def _instructions() -> str:
    """Return what tells this processor's instructions from another's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")


def have_kernels(*tensors: Tensor, whole: int) -> bool:
    """Return whether the kernels can take these tensors.

    Args:
        tensors: must lie on a CPU in float32. Subclasses and torch.compile want operations that torch knows.
        whole: the size that a kernel reads in vectors of 8 or 16.
    """
    return (
        whole % 16 == 0
        and all(
            type(t) in (Tensor, nn.Parameter) and t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors
        )
        and all(t.numel() for t in tensors)
        and not torch.compiler.is_compiling()
        and kernels() is not None
    )


def call(name: str, *arguments: Tensor | float, threads: int | None = None) -> None:
    """Run a kernel. A tensor is passed as the address of its first element: it must be contiguous."""
    values = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    getattr(kernels(), name)(*values, torch.get_num_threads() if threads is None else threads)
