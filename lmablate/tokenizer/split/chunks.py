"""Read text of any size in pieces that can be processed apart, with the same result as the whole.

A chunk ends where a pre-token begins, or after a special token. While the stream continues, the last few bytes that
were read cannot be judged yet: a word may continue, whitespace may be followed by something, a special token may be cut
in two. These bytes are carried over to the next chunk.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.native.jit import kernel
from lmablate.tokenizer.split.batches import split_batch
from lmablate.tokenizer.split.pattern import STARTS_CAPACITY
from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.split.text import PADDING, ByteStream
from lmablate.tokenizer.split.unicode_classes import class_table

CHUNK_BYTES = 4 << 20
# How far the pattern looks ahead at most, in bytes: after the character that ends a token, at one more character (four
# bytes) or at a contraction.
_LOOKAHEAD = 8


class Chunk(NamedTuple):
    """A text, or a piece of one that can be processed apart.

    Attributes:
        text: the bytes, with padding after them: uint8 [>= size + PADDING].
        size: the number of bytes.
        specials: where special tokens begin and end: int64 [n, 2].
    """

    text: np.ndarray
    size: int
    specials: np.ndarray


def whole_chunk(text: np.ndarray, size: int, specials: SpecialTokens) -> Chunk:
    """Return all of text[:size], which ends there."""
    return Chunk(text, size, specials.find(text, size, size))


def _settled_chunk(text: np.ndarray, size: int, specials: SpecialTokens) -> Chunk:
    """Return as much of text[:size] as no further text can change."""
    found = specials.find(text, size - specials.longest + 1, size)
    begin = int(found[-1, 1]) if len(found) else 0
    limit = size - specials.longest - _LOOKAHEAD
    cut = _last_start(text, begin, size, limit, class_table())
    return Chunk(text, cut, found)


@kernel
def _last_start(text, begin, end, limit, classes):
    """Return the last start of a pre-token at or before `limit`; text[begin:end] must have no special tokens."""
    starts = np.empty(STARTS_CAPACITY, np.int64)
    last = begin
    while begin < end and begin <= limit:
        count, begin = split_batch(text, begin, end, classes, starts, 0)
        for i in range(count):
            if starts[i] <= limit:
                last = starts[i]
    return last


def read_chunks(stream: ByteStream, specials: SpecialTokens, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Yield the stream in chunks of about `chunk_bytes`; a longer one only if a single pre-token is longer."""
    carried = np.empty(0, np.uint8)
    while True:
        # A pre-token longer than the buffer doubles it, so that rereading costs no more than reading.
        capacity = len(carried) + max(chunk_bytes, len(carried))
        text = np.empty(capacity + PADDING, np.uint8)
        text[: len(carried)] = carried
        size = len(carried) + _read_fully(stream, text[len(carried) : capacity].data)
        text[size : size + PADDING] = 0
        if size < capacity:
            if size:
                yield whole_chunk(text, size, specials)
            return
        chunk = _settled_chunk(text, size, specials)
        if chunk.size:
            yield chunk
        carried = text[chunk.size : size]


def _read_fully(stream: ByteStream, buffer: memoryview) -> int:
    """Fill the buffer as far as the stream reaches, and return the number of bytes."""
    filled = 0
    while filled < len(buffer) and (count := stream.readinto(buffer[filled:])):
        filled += count
    return filled
