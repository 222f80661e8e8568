"""What the benchmarks say of the machine, and of their own memory."""

import os
import platform
import time
from pathlib import Path


def describe() -> str:
    """One line: date, processor, cores, load, Python and C library."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{time.strftime('%Y-%m-%d')}, {processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {' '.join(platform.libc_ver())}"
    )


def peak_bytes() -> int:
    """This process's peak memory. (ru_maxrss would begin at that of the process which started it.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
