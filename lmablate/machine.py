"""Processor cores, threads, devices and memory of this machine."""

import contextlib
import ctypes
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from lmablate.errors import UserError

if TYPE_CHECKING:
    import torch

# The variables that numerical libraries size their thread pools by. They read them when they are imported, so a
# launcher sets them before the process starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def available_cores() -> int:
    """Return the number of cores for this process: its CPU affinity, capped by the CPU quota of its cgroup (v2)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # the file is missing, or there is no quota: "max 100000"
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        return max(1, min(affinity, quota // period))
    return affinity


def available_threads() -> int:
    """Return the number of threads for this process: OMP_NUM_THREADS if its launcher set it, else one per core."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        return int(threads)
    return available_cores()


def processor_name() -> str:
    """Return the name of the processor, such as "AMD EPYC 7763"."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    if names:
        return names[0]
    return platform.processor() or platform.machine()


def pick_device(name: str) -> "torch.device":
    """Return the device for `train.device`: "auto" is a GPU if there is one, else the CPU.

    Raises:
        UserError: if this machine has no such device.
    """
    import torch  # here: most users of this module do without torch, whose import takes over a second

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda") or (name.startswith("cuda") and not torch.cuda.is_available()):
        raise UserError(f"train.device={name} is not on this machine: choose auto, cpu or, with a GPU, cuda.")
    return torch.device(name)


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed memory instead of returning it to the kernel.

    A training step allocates and frees the same large tensors every time. By default each of them is a new mmap
    whose pages the kernel clears one by one: about 700,000 page faults per step at the report's size. Call this
    before the first large tensor is made.

    Returns:
        True if it took effect. Without glibc it does nothing.
    """
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (ValueError, OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
