"""Special tokens: strings that are one token wherever they occur, whatever the pattern and the merges say."""

from collections.abc import Sequence

import numpy as np

from lmablate.errors import UserError
from lmablate.tokenizer.native.arrays import grown
from lmablate.tokenizer.native.intrinsics import equal_block, trailing_zeros
from lmablate.tokenizer.native.jit import inline, kernel, step
from lmablate.tokenizer.split.text import utf8


class SpecialTokens:
    """Special tokens, found leftmost first and, at one place, longest first.

    Attributes:
        tokens: the strings, in the order given.
        longest: the length in bytes of the longest one; 0 if there are none.
    """

    def __init__(self, tokens: Sequence[str]):
        self.tokens = tuple(tokens)
        if bad := [token for token in self.tokens if not isinstance(token, str) or not token]:
            raise UserError(f"special_tokens must be strings that are not empty, but one is {bad[0]!r}.")
        if len(set(self.tokens)) < len(self.tokens):
            raise UserError(f"special_tokens must differ from each other, but are {list(self.tokens)!r}.")
        longest_first = sorted(map(utf8, self.tokens), key=len, reverse=True)
        self.longest = max(map(len, longest_first), default=0)
        # The arguments `special_bytes`, `bounds` and `first_bytes` of `_find_specials`.
        self._packed = (
            np.frombuffer(b"".join(longest_first), np.uint8),
            np.cumsum([0] + [len(token) for token in longest_first], dtype=np.int64),
            np.array(sorted({token[0] for token in longest_first}), np.uint8),
        )

    @classmethod
    def of(cls, tokens: Sequence[str] | None) -> "SpecialTokens":
        """Return the special tokens of a user's list; None means that there are none.

        Raises:
            UserError: if `tokens` is a string, or holds something else than strings, an empty one, or one twice.
        """
        if isinstance(tokens, str):
            raise UserError(f"special_tokens must be a list of strings, but is the string {tokens!r}.")
        return cls(tokens or ())

    @property
    def encoded(self) -> list[bytes]:
        """The tokens in UTF-8, in the order given."""
        return [token.encode() for token in self.tokens]

    def find(self, text: np.ndarray, search_end: int, end: int) -> np.ndarray:
        """Find the special tokens that begin in text[:search_end] and end in text[:end].

        Args:
            text: uint8, padded.
            search_end: where the search ends.
            end: where the text ends.

        Returns:
            Where each begins and ends: int64 [n, 2].
        """
        if not self.tokens:
            return np.empty((0, 2), np.int64)
        return _find_specials(text, search_end, end, *self._packed)


@kernel
def _find_specials(text, search_end, end, special_bytes, bounds, first_bytes):
    """Find special tokens, see `SpecialTokens.find`.

    Args:
        text: uint8, padded.
        search_end: where the search ends.
        end: where the text ends.
        special_bytes: the special tokens one after the other, the longest first: uint8.
        bounds: special token i is special_bytes[bounds[i]:bounds[i + 1]]: int64.
        first_bytes: the different bytes that special tokens begin with: uint8.

    Returns:
        int64 [n, 2].
    """
    found = np.empty(128, np.int64)
    used = 0
    at = _next_candidate(text, 0, search_end, first_bytes)
    while at < search_end:
        length = _matching_special(text, at, end, special_bytes, bounds)
        if length > 0:
            found = grown(found, used + 2)
            found[used] = at
            found[used + 1] = at + length
            used += 2
        at = _next_candidate(text, at + max(length, 1), search_end, first_bytes)
    return found[:used].reshape(used // 2, 2)


@inline
def _next_candidate(text, at, end, first_bytes):
    """Return the next index at which a special token's first byte stands; if there is none, `end` or a little more."""
    while at < end:
        candidates = np.uint64(0)
        for byte in first_bytes:
            candidates |= equal_block(text, at, byte)
        if candidates != 0:
            return at + trailing_zeros(candidates)
        at += 64
    return at


@step
def _matching_special(text, at, last, special_bytes, bounds):
    """Return the length of the longest special token that begins at `at` and ends by `last`; 0 if there is none."""
    for i in range(len(bounds) - 1):
        length = bounds[i + 1] - bounds[i]
        if at + length <= last:
            matched = 0
            while matched < length and text[at + matched] == special_bytes[bounds[i] + matched]:
                matched += 1
            if matched == length:
                return length
    return 0
