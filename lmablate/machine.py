"""Processor cores, threads, devices and memory of this machine."""

import contextlib
import ctypes
import math
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lmablate.errors import UserError, counted

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


def environment_number(name: str, default: int, least: int, most: float = math.inf) -> int:
    """Return the whole number in an environment variable; an empty variable counts as one that is not set.

    Raises:
        UserError: if it holds anything else, or a number out of range; the message names the variable.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if text.isdecimal() and text.isascii() and least <= int(text) <= most:
        return int(text)
    limits = f"at least {least}" if most == math.inf else f"from {least} to {most:.0f}"
    raise UserError(f"The environment has {name}={text}: it must be a whole number, {limits}.")


def available_threads() -> int:
    """Return the number of threads for this process: OMP_NUM_THREADS if its launcher set it, else one per core.

    Of the list that OpenMP allows there ("4,2"), the first number counts, which is that of the outermost level.

    Raises:
        UserError: if OMP_NUM_THREADS holds anything else.
    """
    levels = os.environ.get("OMP_NUM_THREADS", "").split(",")
    if len(levels) > 1 and all(level.strip().isdecimal() for level in levels) and int(levels[0]) >= 1:
        return int(levels[0])
    return environment_number("OMP_NUM_THREADS", available_cores(), least=1)


def processor_name() -> str:
    """Return the name of the processor, such as "AMD EPYC 7763"."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    if names:
        return names[0]
    return platform.processor() or platform.machine()


def describe_machine() -> str:
    """Return the processor, the number of threads and torch's version, on which the last bits of a result depend."""
    import torch

    return f"{processor_name()}, {counted(available_threads(), 'thread')}, torch {torch.__version__}"


def pick_device(name: str) -> "torch.device":
    """Return the device for `train.device`: "auto" is a GPU if there is one, else the CPU.

    Raises:
        UserError: if this machine has no such device.
    """
    import torch  # here: most users of this module do without torch, whose import takes over a second

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name) or (name.startswith("cuda") and not torch.cuda.is_available()):
        raise UserError(f"train.device={name} is not on this machine: choose auto, cpu or, with a GPU, cuda.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"train.device={name} is not on this machine: it has {counted(torch.cuda.device_count(), 'GPU')}."
        )
    return device


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
