"""Texts to tokenize: the sources of the standard library, which every machine has, and texts made to be awkward."""

import sysconfig
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

SPECIAL = "<|endoftext|>"
# Special tokens that begin, end and contain each other.
OVERLAPPING = ["<a>", "<a><a>", "a>b", "<", SPECIAL]
# What train_bpe returns: (vocab, merges).
Trained = tuple[dict[int, bytes], list[tuple[bytes, bytes]]]

BYTES = {i: bytes([i]) for i in range(256)}

# The first example may have to compile.
UNTIMED = settings(deadline=None)
# Texts full of special tokens, whole and cut, and of what the pattern treats in its own way.
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["<a>", "<a", "a>b", SPECIAL, SPECIAL[:5], "  ", "\r\n", "\0", "'ll", "the", "=" * 70, "中文"]),
    ),
    max_size=25,
).map("".join)


def standard_library(limit: int) -> bytes:
    """Return the first `limit` bytes of the standard library's sources, one document per file; all valid UTF-8."""
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
