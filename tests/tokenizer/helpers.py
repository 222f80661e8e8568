"""Text that every machine has: the sources of the standard library."""

import sysconfig
from pathlib import Path

SPECIAL = "<|endoftext|>"


def standard_library(limit: int) -> bytes:
    """The first `limit` bytes of the standard library's sources, a document a file; all valid UTF-8."""
    documents, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        try:
            documents.append(path.read_bytes().decode())
        except UnicodeDecodeError:
            continue
        size += len(documents[-1]) + len(SPECIAL)
        if size > limit:
            break
    return SPECIAL.join(documents).encode()[:limit].decode(errors="ignore").encode()
