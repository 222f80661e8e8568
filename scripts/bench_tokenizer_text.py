"""The texts that bench_tokenizer.py measures with.

The main one is this machine's own: documentation, manual pages and dictionaries, each file at most 200 kB, in an order
that depends on the names alone. If it falls short of 100 MB, install more documentation:

    apt-get install linux-doc debian-reference-en hunspell-en-us hunspell-de-de wamerican manpages-dev
"""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SPECIAL = "<|endoftext|>"
CORPUS_BYTES = 100_000_000
SOURCES = ("doc", "man", "dict", "hunspell", "perl", "info")
UNIQUE_WORDS = 6_600_000


def documents() -> Iterator[bytes]:
    """Yield the texts of this machine, each at most 200 kB."""
    paths = [path for name in SOURCES for path in Path("/usr/share", name).rglob("*") if path.is_file()]
    paths = [path for path in paths if not path.is_symlink()]
    for path in sorted(paths, key=lambda path: hashlib.sha256(str(path).encode()).digest()):
        try:
            text = path.read_bytes()
            text = gzip.decompress(text) if path.suffix == ".gz" else text
            text.decode()
        except (OSError, EOFError, UnicodeDecodeError):
            continue
        if b"\0" not in text and SPECIAL.encode() not in text:
            yield text[:200_000].decode(errors="ignore").encode()


def make_corpus(path: Path) -> None:
    """Write 100 MB of documents, with a special token after each."""
    size = 0
    with path.open("wb") as file:
        for document in documents():
            size += file.write(document + SPECIAL.encode())
            if size >= CORPUS_BYTES:
                return
    path.unlink()
    raise SystemExit(f"/usr/share has only {size / 1e6:.0f} MB of text; see the top of {__file__}.")


def make_word_stream(path: Path) -> None:
    """Write as many distinct words as OpenWebText has, with frequencies that fall like 1 / rank."""
    source = np.random.default_rng(0)
    consonants, vowels = [*"bcdfghjklmnprstvwz", "st", "th", "ch", "br"], [*"aeiou", "ea", "ou"]
    syllables = np.array([first + second for first in consonants for second in vowels])
    weights = 1 / np.arange(1, len(syllables) + 1)
    words: np.ndarray = np.empty(0, "U1")
    while len(words) < UNIQUE_WORDS:
        drawn = [source.choice(syllables, 4_000_000, p=weights / weights.sum()) for _ in range(5)]
        length = source.integers(2, 6, 4_000_000)
        fresh = drawn[0]
        for i in range(1, 5):
            fresh = np.char.add(fresh, np.where(length > i, drawn[i], ""))
        words = np.unique(np.concatenate([words, fresh]))
    words = source.permutation(words)[:UNIQUE_WORDS]
    with path.open("w") as file:
        for rank, word in enumerate(words.tolist(), 1):
            file.write(f" {word}" * max(1, 300_000 // rank))


def prefix(path: Path, size: int) -> str:
    """Return the first `size` bytes of a file as text."""
    with path.open("rb") as file:
        return file.read(size).decode(errors="ignore")
