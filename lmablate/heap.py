"""Keeping freed memory, on Linux with glibc."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_heap() -> bool:
    """Tells glibc's malloc to keep what is freed, instead of giving it back to the kernel and asking again.

    A training step allocates and frees the same large tensors every time; by default each one is a fresh mmap
    whose pages the kernel clears one by one (some 700,000 page faults a step at the report's size). Call it
    before the first large tensor. Returns whether it took effect; elsewhere than on glibc it does nothing.
    """
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (ValueError, OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
