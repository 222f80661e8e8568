"""A hash table from words (pre-tokens) to whatever training or encoding knows about them.

Open addressing with linear probing. An entry is 32 bytes, half a cache line, held as four uint64:

    field      short word, 1-15 bytes                   long word, 16 bytes and more
    KEY_LOW    its bytes 0-7                            a 64-bit hash of its bytes
    KEY_HIGH   its bytes 8-14, its length on top        its length, LONG on top
    PAYLOAD    training: how often it occurred          the same
               encoding: number of ids | offset << 8    the same
    INLINE     training: unused                         training: offset
               encoding: its first four ids             the same

An entry whose KEY_HIGH is 0 is free. A short word *is* its key, so equal keys mean equal words. A long word
lies in the arena, at the offset that its entry names, and is compared byte by byte. In encoding, ids that do
not fit into INLINE lie in the arena at the offset, after the bytes of a long word. No offset is 0; therefore
a payload of at most INLINE_IDS means: a short word, with all its ids inline. That is the common case, and one
comparison finds it.

Nothing is ever removed. `slot` below is the index of an entry's first uint64.
"""

import numpy as np

from lmablate.tokenizer.intrinsics import load_u64, multiply_fold, peek, poke
from lmablate.tokenizer.jit import inline, kernel, step

KEY_LOW, KEY_HIGH, PAYLOAD, INLINE = 0, 1, 2, 3
FIELDS = 4
SHORT = 16
INLINE_IDS = 4
# A read of eight bytes may begin at the last byte of the arena.
ARENA_PADDING = 16

_TOP_BYTE = np.uint64(56)
_LONG = np.uint64(0xFF << 56)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONE = np.uint64(1)
_LAST_BIT = np.uint64(63)
_WORD_BITS = np.uint64(64)
_FREE = np.uint64(0)
# Odd constants with bits set at random places, from the digits of the golden ratio and of pi.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PI = np.uint64(0x243F6A8885A308D3)


@inline
def _short_key(text, start, length):
    """(KEY_LOW, KEY_HIGH) of a word of 1 to 15 bytes; reads 16 bytes of `text`."""
    low_bytes = min(length, 8)
    high_bytes = max(length - 8, 0)
    low = load_u64(text, start) & (_ALL >> (_WORD_BITS - np.uint64(8 * low_bytes)))
    # Two shifts, because one by 64 bits, which no high bytes would ask for, is undefined.
    high = load_u64(text, start + 8) & (_ALL >> _ONE >> (_LAST_BIT - np.uint64(8 * high_bytes)))
    return low, high | np.uint64(length) << _TOP_BYTE


@step
def _long_key(text, start, length):
    """(KEY_LOW, KEY_HIGH) of a word of 16 bytes or more."""
    digest = np.uint64(length)
    at, last = start, start + length - 8
    while at < last:
        digest = multiply_fold(digest ^ load_u64(text, at), _GOLDEN)
        at += 8
    digest = multiply_fold(digest ^ load_u64(text, last), _GOLDEN)
    return digest, np.uint64(length) | _LONG


@inline
def key_of(text, start, length):
    """(KEY_LOW, KEY_HIGH) of the word text[start:start + length]."""
    if length < SHORT:
        return _short_key(text, start, length)
    return _long_key(text, start, length)


@inline
def first_slot(low, high, capacity):
    """Where the search for a key begins in a table of `capacity` entries, a power of two."""
    return FIELDS * np.int64(multiply_fold(low ^ _PI, high ^ _GOLDEN) & np.uint64(capacity - 1))


@inline
def is_long(high):
    return high >= _LONG


@step
def equal_bytes(left, left_start, right, right_start, length):
    for i in range(length):  # noqa: SIM110 - numba knows no generators in all()
        if left[left_start + i] != right[right_start + i]:
            return False
    return True


@inline
def is_free(entries, slot):
    return peek(entries, slot + KEY_HIGH) == _FREE


@inline
def has_key(entries, slot, low, high):
    return peek(entries, slot + KEY_LOW) == low and peek(entries, slot + KEY_HIGH) == high


@inline
def next_slot(entries, slot):
    return (slot + FIELDS) & (len(entries) - 1)


@kernel
def rehash(old, new):
    """Copy every entry of `old` into the empty table `new`."""
    for old_slot in range(0, len(old), FIELDS):
        if is_free(old, old_slot):
            continue
        slot = first_slot(old[old_slot + KEY_LOW], old[old_slot + KEY_HIGH], len(new) // FIELDS)
        while not is_free(new, slot):
            slot = next_slot(new, slot)
        for field in range(FIELDS):
            poke(new, slot + field, old[old_slot + field])


def empty_entries(capacity: int) -> np.ndarray:
    """A table for `capacity` entries (a power of two), all free, on a cache-line boundary."""
    line = 64
    raw = np.zeros(FIELDS * capacity * 8 + line, np.uint8)
    skip = -raw.ctypes.data % line
    return raw[skip : skip + FIELDS * capacity * 8].view(np.uint64)
