"""Special tokens: strings that are one token wherever they occur, whatever the pattern and the merges say."""

from collections.abc import Sequence

import numpy as np

from lmablate.errors import UserError
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
        # The arguments `special_bytes`, `bounds` and `first_bytes` of `find_specials`.
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
        from lmablate.tokenizer.split.search import find_specials  # here: it imports numba, which takes half a second

        return find_specials(text, search_end, end, *self._packed)
