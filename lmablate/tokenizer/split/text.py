"""Text as the kernels read it: UTF-8 bytes in padded arrays, and streams that such arrays are filled from."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from lmablate.errors import UserError

# Bytes after a text's last one that may be read. Kernels read whole blocks of 64 bytes, so every array of text is
# padded; 128 leaves room for a block that begins at the last byte.
PADDING = 128


class ByteStream(Protocol):
    """A source of text: an unbuffered file is one, and so is `TextStream`."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the beginning of the buffer and return the number of bytes; 0 at the end of the stream."""
        ...


class TextStream:
    """The concatenation of strings, in UTF-8, as a stream of bytes."""

    def __init__(self, texts: Iterable[str]):
        self._texts = iter(texts)
        self._pending = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the beginning of the buffer and return the number of bytes; 0 at the end of the stream."""
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
    """Return the text in UTF-8.

    Raises:
        UserError: if it is no string, or if a character is a lone surrogate, which has no form in UTF-8.
    """
    if not isinstance(text, str):
        raise UserError(f"text must be a string, but is {text!r:.80}.")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise UserError(
            f"text must be valid Unicode, but character {error.start} is a lone surrogate {bad!r}."
        ) from None


def padded(text: bytes) -> np.ndarray:
    """Return the bytes in an array with PADDING zeros after them: uint8 [len(text) + PADDING].

    The array is writable, like the arrays of `read_chunks`: numba would compile the kernels again for another type.
    """
    array = np.zeros(len(text) + PADDING, np.uint8)
    array[: len(text)] = np.frombuffer(text, np.uint8)
    return array
