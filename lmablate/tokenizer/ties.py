"""Which of several equally frequent pairs is merged first: it changes the tokenizer, so it has a name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from lmablate.tokenizer.byte_alphabet import CHARACTER_OF_BYTE

_LARGEST_KEY = (1 << 64) - 1


class TieRule(ABC):
    """An order of tokens: among pairs that occur equally often, the one with the greatest left token is
    merged, and among those the one with the greatest right token.

    The kernels compare a uint64 key for each token and, where keys are equal, the bytes.
    """

    # Whether a new token's key is its first eight bytes, or else counts down from the largest.
    keys_are_prefixes: bool

    @abstractmethod
    def preference(self, pair: tuple[bytes, bytes], ids: Mapping[bytes, int]) -> tuple:
        """A value that is greatest for the pair to be merged."""

    @abstractmethod
    def byte_keys(self) -> np.ndarray:
        """The keys of the 256 single bytes, uint64."""


class GreaterBytes(TieRule):
    """The pair that a dictionary of bytes would list last wins, as in Stanford's CS336; our default."""

    keys_are_prefixes = True

    def preference(self, pair, ids):
        return pair

    def byte_keys(self):
        return np.arange(256, dtype=np.uint64) << np.uint64(56)


class SmallerIds(TieRule):
    """The pair of older tokens wins, as in Hugging Face's trainer, which sorts bytes by their characters."""

    keys_are_prefixes = False

    def __init__(self):
        by_character = sorted(range(256), key=CHARACTER_OF_BYTE.__getitem__)
        self._byte_order = {bytes([byte]): i for i, byte in enumerate(by_character)}

    def preference(self, pair, ids):
        return tuple(-self._byte_order.get(token, ids[token]) for token in pair)

    def byte_keys(self):
        order = [self._byte_order[bytes([byte])] for byte in range(256)]
        return np.array([_LARGEST_KEY - i for i in order], np.uint64)
