"""A hash table from pairs of tokens to numbers: to a merge's rank in encoding, to a tracked pair in training.

Open addressing with linear probing in one array, uint64 [capacity], whose capacity is a power of two and at least
twice the number of pairs. An entry is

    (left << 16 | right) << 32 | number + 1        left, right: 16 bits each; number: less than 2**32 - 1

so an entry of 0 is free, and `np.zeros` is an empty table. Nothing is ever removed.
"""

import numpy as np

from lmablate.tokenizer.native.intrinsics import GOLDEN, multiply_fold, peek, poke
from lmablate.tokenizer.native.jit import inline

_HALF = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFF_FFFF)


@inline
def pair_key(left, right):
    """Return a pair as one number of 32 bits, uint64."""
    return np.uint64(left) << np.uint64(16) | np.uint64(right)


@inline
def first_place(key, capacity):
    """Return where the search for a pair's key begins in a table of `capacity` entries, a power of two."""
    return np.int64(multiply_fold(key, GOLDEN) & np.uint64(capacity - 1))


@inline
def find_pair(table, left, right, missing):
    """Return the number of a pair, or `missing` (int64) if the table does not have the pair."""
    key = pair_key(left, right)
    at = first_place(key, len(table))
    while True:
        entry = peek(table, at)
        if entry == 0:
            return missing
        if entry >> _HALF == key:
            return np.int64(entry & _LOW_HALF) - 1
        at = (at + 1) & (len(table) - 1)


@inline
def insert_pair(table, left, right, number):
    """Add a pair that the table does not have."""
    key = pair_key(left, right)
    at = first_place(key, len(table))
    while peek(table, at) != 0:
        at = (at + 1) & (len(table) - 1)
    poke(table, at, key << _HALF | np.uint64(number + 1))
