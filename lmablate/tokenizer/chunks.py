"""Read text of any size in pieces that can be processed apart, with the same result as the whole.

A chunk ends where a pre-token begins, or after a special token. Where the text goes on, the last few bytes of
what was read cannot be judged yet (a word may continue, whitespace may be followed by something, a special
token may be half there): they are carried over to the next chunk.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from lmablate.errors import UserError
from lmablate.tokenizer.batches import split
from lmablate.tokenizer.intrinsics import equal_block, trailing_zeros
from lmablate.tokenizer.jit import inline, kernel, step
from lmablate.tokenizer.pretokenize import STARTS_CAPACITY
from lmablate.tokenizer.unicode_classes import class_table

CHUNK_BYTES = 4 << 20
# Kernels read whole blocks of 64 bytes, so a text's last byte is followed by that many that belong to nobody.
PADDING = 128
# The longest look ahead of the pattern: one character (four bytes), or a contraction, after the one that ends
# a token.
_LOOKAHEAD = 8


class ByteStream(Protocol):
    """What is asked of a source of text: an unbuffered file has it, and `TextStream`."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Chunk(NamedTuple):
    """`size` bytes of text, with padding behind them, and the special tokens among them (int64 [n, 2])."""

    text: np.ndarray
    size: int
    specials: np.ndarray


@step
def _matching_special(text, at, last, special_bytes, bounds):
    """The length of the longest special token that begins at `at` and ends by `last`; 0 if there is none."""
    for i in range(len(bounds) - 1):
        length = bounds[i + 1] - bounds[i]
        if at + length <= last:
            matched = 0
            while matched < length and text[at + matched] == special_bytes[bounds[i] + matched]:
                matched += 1
            if matched == length:
                return length
    return 0


@inline
def _next_candidate(text, at, end, first_bytes):
    """The next place where some special token's first byte is; `end`, or a little more, if there is none."""
    while at < end:
        candidates = np.uint64(0)
        for byte in first_bytes:
            candidates |= equal_block(text, at, byte)
        if candidates != 0:
            return at + trailing_zeros(candidates)
        at += 64
    return at


@kernel
def _find_specials(text, search_end, end, special_bytes, bounds, first_bytes):
    """int64 [n, 2]: begin and end of the special tokens in text[:end] that begin before `search_end`."""
    found = np.empty((64, 2), np.int64)
    count = 0
    at = _next_candidate(text, 0, search_end, first_bytes)
    while at < search_end:
        length = _matching_special(text, at, end, special_bytes, bounds)
        if length > 0:
            found = _with_room(found, count + 1)
            found[count, 0] = at
            found[count, 1] = at + length
            count += 1
        at = _next_candidate(text, at + max(length, 1), search_end, first_bytes)
    return found[:count]


@inline
def _with_room(rows, needed):
    if needed <= len(rows):
        return rows
    larger = np.empty((2 * needed, 2), np.int64)
    for i in range(len(rows)):
        larger[i, 0], larger[i, 1] = rows[i, 0], rows[i, 1]
    return larger


@kernel
def _last_start(text, begin, end, limit, classes):
    """The last start of a pre-token at or before `limit`; text[begin:end] is without special tokens."""
    starts = np.empty(STARTS_CAPACITY, np.int64)
    last = begin
    while begin < end and begin <= limit:
        count, begin = split(text, begin, end, classes, starts, 0)
        for i in range(count):
            if starts[i] <= limit:
                last = starts[i]
    return last


class SpecialTokens:
    """Strings that are tokens by decree: found leftmost first and, at one place, longest first."""

    def __init__(self, tokens: Sequence[str]):
        self.tokens = tuple(tokens)
        if bad := [token for token in self.tokens if not isinstance(token, str) or not token]:
            raise UserError(f"special_tokens must be strings that are not empty, but one is {bad[0]!r}.")
        if len(set(self.tokens)) < len(self.tokens):
            raise UserError(f"special_tokens must differ from each other, but are {list(self.tokens)!r}.")
        longest_first = sorted(map(utf8, self.tokens), key=len, reverse=True)
        first_bytes = np.array(sorted({token[0] for token in longest_first}), np.uint8)
        bounds = np.cumsum([0] + [len(token) for token in longest_first], dtype=np.int64)
        self._longest = max(map(len, longest_first), default=0)
        self._packed = np.frombuffer(b"".join(longest_first), np.uint8), bounds, first_bytes

    @classmethod
    def of(cls, tokens: Sequence[str] | None) -> "SpecialTokens":
        if isinstance(tokens, str):
            raise UserError(f"special_tokens must be a list of strings, but is the string {tokens!r}.")
        return cls(tokens or ())

    @property
    def encoded(self) -> list[bytes]:
        """The tokens in UTF-8, in the order given."""
        return [token.encode() for token in self.tokens]

    def find(self, text: np.ndarray, search_end: int, end: int) -> np.ndarray:
        """int64 [n, 2]: begin and end of those in text[:end] that begin before `search_end`."""
        if not self.tokens:
            return np.empty((0, 2), np.int64)
        return _find_specials(text, search_end, end, *self._packed)

    def whole(self, text: np.ndarray, size: int) -> Chunk:
        """All of a text that ends here."""
        return Chunk(text, size, self.find(text, size, size))

    def settled(self, text: np.ndarray, size: int) -> Chunk:
        """As much of text[:size] as no further text can change."""
        found = self.find(text, size - self._longest + 1, size)
        begin = int(found[-1, 1]) if len(found) else 0
        limit = size - self._longest - _LOOKAHEAD
        cut = _last_start(text, begin, size, limit, class_table())
        return Chunk(text, cut, found)


def padded(text: bytes) -> np.ndarray:
    """The bytes in an array with room behind them for a kernel to read.

    It is writable, like the arrays of `read_chunks`: numba would compile the kernels again for another type.
    """
    array = np.zeros(len(text) + PADDING, np.uint8)
    array[: len(text)] = np.frombuffer(text, np.uint8)
    return array


def read_chunks(stream: ByteStream, specials: SpecialTokens, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """The stream as chunks of about `chunk_bytes`; longer only where a single pre-token is."""
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
                yield specials.whole(text, size)
            return
        chunk = specials.settled(text, size)
        if chunk.size:
            yield chunk
        carried = text[chunk.size : size]


def _read_fully(stream: ByteStream, buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer) and (count := stream.readinto(buffer[filled:])):
        filled += count
    return filled


class TextStream:
    """The concatenation of strings, in UTF-8, as a stream of bytes."""

    def __init__(self, texts: Iterable[str]):
        self._texts = iter(texts)
        self._pending = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the beginning of the buffer; returns how many bytes, 0 at the end."""
        while not self._pending:
            text = next(self._texts, None)
            if text is None:
                return 0
            self._pending = memoryview(utf8(text))
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count


def utf8(text: str) -> bytes:
    """The text in UTF-8; a lone surrogate, which has no such form, is the user's error."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise UserError(
            f"text must be valid Unicode, but character {error.start} is a lone surrogate {bad!r}."
        ) from None
