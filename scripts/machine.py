"""The machine and the peak memory, for the benchmarks' output."""

import os
import platform
import time
from pathlib import Path

from lmablate.machine import processor_name


def describe() -> str:
    """Return one line: date, processor, cores, load, Python and C library."""
    return (
        f"{time.strftime('%Y-%m-%d')}, {processor_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {' '.join(platform.libc_ver())}"
    )


def peak_bytes() -> int:
    """Return the peak memory of this process. (ru_maxrss would start from that of its parent process.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
