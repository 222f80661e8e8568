"""Helpers of the tests of data: a vocabulary to ask for, the bytes of a folder, and a disk that gets full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmablate.data.corpora import END_OF_TEXT

STORY = "Once upon a time, a naïve cat said: 你好! {}\n" + END_OF_TEXT + "\n"


@dataclass
class Vocabulary:
    """Stands for the `tokenizer` config."""

    vocab_size: int = 300


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below `folder`, by relative path, without the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of `size` bytes at `folder` during the block."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be made here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
