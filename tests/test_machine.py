"""Cores, threads, devices and memory of this machine."""

import os
import subprocess
import sys

import pytest
import torch

from lmablate.errors import UserError
from lmablate.machine import available_cores, available_threads, pick_device, processor_name


def test_there_are_as_many_cores_as_the_affinity_allows(monkeypatch):
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert available_cores() == 1


def test_the_launchers_number_of_threads_comes_first(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert available_threads() == 7
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert available_threads() == available_cores()


def test_the_processor_has_a_name():
    assert processor_name()
    assert "\n" not in processor_name()


def test_a_device_is_picked_or_refused_by_name():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "", *(() if torch.cuda.is_available() else ("cuda", "cuda:1"))):
        with pytest.raises(UserError, match=f"train.device={name} is not on this machine"):
            pick_device(name)


COUNT_PAGE_FAULTS = """
import resource, sys
import numpy as np
from lmablate.machine import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no glibc")
np.ones(4_000_000)  # 32 MB, allocated and freed again
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT_PAGE_FAULTS, mode], capture_output=True, text=True)
    if "no glibc" in done.stderr:
        pytest.skip("malloc is not glibc's")
    return int(done.stdout)


def test_freed_memory_that_is_kept_causes_no_page_faults():
    assert page_faults("keep") < page_faults("return") / 10
