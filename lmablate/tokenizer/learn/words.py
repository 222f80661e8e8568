"""The counted words as packed records, which merges shorten in place.

A record is a few uint16: the length (2 of them, the low half first), the count (4 of them), then one symbol each. A
symbol is the number of a token, see `tokens`. Words of one byte have no pairs and are left out.

In all functions, `records` is the array of all records, uint16, and `record` is the index where one begins.
"""

from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.learn.counting import word_at
from lmablate.tokenizer.native.intrinsics import load_u64, store_u64
from lmablate.tokenizer.native.jit import inline, kernel
from lmablate.tokenizer.native.wordtable import FIELDS, KEY_HIGH, PAYLOAD, key_length

# The number of uint16 before a record's symbols, and where the count is among them.
HEADER = 6
_COUNT = 2


class Words(NamedTuple):
    """The words of a corpus.

    Attributes:
        records: the records one after the other, uint16.
        begins: where each record begins, uint32 [words].
    """

    records: np.ndarray
    begins: np.ndarray


@kernel
def pack_words(counts):
    """Return the counted words (`counting.Counts`) of two bytes and more as `Words`."""
    words, size = 0, 0
    for slot in range(0, len(counts.entries), FIELDS):
        if _is_packed(counts.entries, slot):
            words += 1
            size += HEADER + key_length(counts.entries[slot + KEY_HIGH])
    records = np.empty(size + HEADER, np.uint16)
    begins = np.empty(words, np.uint32)
    words, at = 0, 0
    for slot in range(0, len(counts.entries), FIELDS):
        if _is_packed(counts.entries, slot):
            length = word_at(counts, slot, records[at + HEADER :])
            set_length(records, at, length)
            store_u64(records, at + _COUNT, counts.entries[slot + PAYLOAD])
            begins[words] = at
            words += 1
            at += HEADER + length
    return Words(records, begins)


@inline
def _is_packed(entries, slot):
    return entries[slot + PAYLOAD] > 0 and key_length(entries[slot + KEY_HIGH]) > 1


@inline
def set_length(records, record, length):
    """Set the number of symbols of a record."""
    records[record] = length & 0xFFFF
    records[record + 1] = length >> 16


@inline
def end_of(records, record):
    """Return the index after the last symbol of a record."""
    return record + HEADER + (np.int64(records[record]) | np.int64(records[record + 1]) << 16)


@inline
def count_of(records, record):
    """Return how often the word of a record occurs."""
    return np.int64(load_u64(records, record + _COUNT))
