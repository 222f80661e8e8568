"""Which of several equally frequent pairs is merged first: the choice changes the tokenizer, so it has a name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from lmablate.tokenizer.byte_alphabet import CHARACTER_OF_BYTE

Pair = tuple[bytes, bytes]

_LARGEST_KEY = (1 << 64) - 1


class TieRule(ABC):
    """An order of tokens that decides between pairs that occur equally often.

    The pair with the greatest left token is merged, and among those the one with the greatest right token. The kernels
    compare a uint64 key for each token and, if the keys are equal, the bytes.

    Attributes:
        keys_are_prefixes: whether a new token's key is its first eight bytes; if not, the keys count down from the
            largest.
    """

    keys_are_prefixes: bool

    @abstractmethod
    def preference(self, pair: Pair, ids: Mapping[bytes, int]) -> tuple:
        """Return a value that is greatest for the pair to be merged, for the naive reference."""

    @abstractmethod
    def byte_keys(self) -> np.ndarray:
        """Return the keys of the 256 single bytes: uint64 [256]."""


class GreaterBytes(TieRule):
    """The default: the pair that a dictionary of bytes would list last is merged, as in Stanford's CS336."""

    keys_are_prefixes = True

    def preference(self, pair, ids):
        """Return the pair itself."""
        return pair

    def byte_keys(self):
        """Return the bytes, each as the first of eight."""
        return np.arange(256, dtype=np.uint64) << np.uint64(56)


class SmallerIds(TieRule):
    """The pair of older tokens is merged, as in Hugging Face's trainer, which sorts bytes by their characters.

    Nothing in lmablate chooses it; the tests need it to compare our merges with those of Hugging Face.
    """

    keys_are_prefixes = False

    def __init__(self):
        by_character = sorted(range(256), key=CHARACTER_OF_BYTE.__getitem__)
        self._byte_order = {bytes([byte]): i for i, byte in enumerate(by_character)}

    def preference(self, pair, ids):
        """Return both ids, negative; those of bytes are their places in the order of their characters."""
        return tuple(-self._byte_order.get(token, ids[token]) for token in pair)

    def byte_keys(self):
        """Return keys that count down from the largest in the order of the bytes' characters."""
        order = [self._byte_order[bytes([byte])] for byte in range(256)]
        return np.array([_LARGEST_KEY - i for i in order], np.uint64)
