"""A hash table from words (pre-tokens) to whatever training or encoding knows about them.

Open addressing with linear probing. An entry is 32 bytes, half a cache line, held as four uint64:

    field      short word, 1-15 bytes                   long word, 16 bytes and more
    KEY_LOW    its bytes 0-7                            a 64-bit hash of its bytes
    KEY_HIGH   its bytes 8-14, its length on top        its length, LONG on top
    PAYLOAD    training: how often it occurred          the same
               encoding: number of ids | offset << 8    the same
    INLINE     training: unused                         training: offset
               encoding: its first four ids             the same

An entry whose KEY_HIGH is 0 is free. A short word *is* its key, so equal keys mean equal words. A long word lies in the
arena, an array of bytes beside the table, at the offset that its entry names; it is compared byte by byte. In encoding,
ids that do not fit into INLINE lie in the arena at the offset, after the bytes of a long word. No offset is 0;
therefore a payload of at most INLINE_IDS means: a short word, with all its ids inline. That is the common case, and one
comparison finds it.

Nothing is ever removed.

In all functions, `entries` is a table, uint64 [FIELDS * capacity], and `slot` is the index of an entry's first uint64.
`low` and `high` are a word's KEY_LOW and KEY_HIGH, uint64. `text` is uint8 and reaches 16 bytes beyond the word.
"""

import numpy as np

from lmablate.tokenizer.native.intrinsics import GOLDEN, load_u64, multiply_fold, peek, poke, prefetch
from lmablate.tokenizer.native.jit import inline, kernel, step

KEY_LOW, KEY_HIGH, PAYLOAD, INLINE = 0, 1, 2, 3
FIELDS = 4
# Length in bytes from which on a word is long.
SHORT = 16
INLINE_IDS = 4
# A read of eight bytes may begin at the last byte of the arena. Offsets begin here, too, so that none is 0.
ARENA_PADDING = 16

# The two numbers in the array `used`, int64 [2], that goes with a table and its arena.
ENTRIES_USED, ARENA_USED = 0, 1

_TOP_BYTE = np.uint64(56)
_LONG = np.uint64(0xFF << 56)
_LENGTH_OF_LONG = np.uint64(0xFFFF_FFFF_FFFF)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONE = np.uint64(1)
_LAST_BIT = np.uint64(63)
_WORD_BITS = np.uint64(64)
_FREE = np.uint64(0)
# An odd number with bits set at random places: the digits of pi.
_PI = np.uint64(0x243F6A8885A308D3)


@inline
def _short_key(text, start, length):
    """Return (low, high) of a word of 1 to 15 bytes; reads 16 bytes of `text`."""
    low_bytes = min(length, 8)
    high_bytes = max(length - 8, 0)
    low = load_u64(text, start) & (_ALL >> (_WORD_BITS - np.uint64(8 * low_bytes)))
    # Without high bytes one shift by 64 bits would be needed, which is undefined; two shifts are not.
    high = load_u64(text, start + 8) & (_ALL >> _ONE >> (_LAST_BIT - np.uint64(8 * high_bytes)))
    return low, high | np.uint64(length) << _TOP_BYTE


@step
def _long_key(text, start, length):
    """Return (low, high) of a word of 16 bytes or more."""
    digest = np.uint64(length)
    at, last = start, start + length - 8
    while at < last:
        digest = multiply_fold(digest ^ load_u64(text, at), GOLDEN)
        at += 8
    digest = multiply_fold(digest ^ load_u64(text, last), GOLDEN)
    return digest, np.uint64(length) | _LONG


@inline
def key_of(text, start, length):
    """Return (low, high) of the word text[start:start + length]."""
    if length < SHORT:
        return _short_key(text, start, length)
    return _long_key(text, start, length)


@inline
def is_long(high):
    """Return whether a key is that of a long word."""
    return high >= _LONG


@inline
def key_length(high):
    """Return the length in bytes of a key's word."""
    return np.int64(high & _LENGTH_OF_LONG) if is_long(high) else np.int64(high >> _TOP_BYTE)


@inline
def first_slot(low, high, capacity):
    """Return where the search for a key begins in a table of `capacity` entries, a power of two."""
    return FIELDS * np.int64(multiply_fold(low ^ _PI, high ^ GOLDEN) & np.uint64(capacity - 1))


@inline
def next_slot(entries, slot):
    """Return where the search continues after `slot`."""
    return (slot + FIELDS) & (len(entries) - 1)


@inline
def is_free(entries, slot):
    """Return whether an entry is free."""
    return peek(entries, slot + KEY_HIGH) == _FREE


@inline
def has_key(entries, slot, low, high):
    """Return whether an entry has a key. The words are then equal if they are short, and probably if they are long."""
    return peek(entries, slot + KEY_LOW) == low and peek(entries, slot + KEY_HIGH) == high


@step
def equal_bytes(left, left_start, right, right_start, length):
    """Return whether left[left_start:left_start + length] is right[right_start:right_start + length]."""
    for i in range(length):  # noqa: SIM110 - numba knows no generators in all()
        if left[left_start + i] != right[right_start + i]:
            return False
    return True


@inline
def find_first_slots(text, starts, count, entries, lows, highs, slots):
    """Compute the keys of a batch of words, and ask for the cache lines where their searches begin.

    Args:
        text: see above.
        starts: where words begin, int64 [> count]; word i is text[starts[i]:starts[i + 1]].
        count: number of words.
        entries: see above.
        lows: receives each word's key, uint64 [>= count].
        highs: like `lows`.
        slots: receives each word's first slot, int64 [>= count].
    """
    capacity = len(entries) // FIELDS
    for i in range(count):
        start = peek(starts, i)
        low, high = key_of(text, start, peek(starts, i + 1) - start)
        slot = first_slot(low, high, capacity)
        prefetch(entries, slot)
        poke(lows, i, low)
        poke(highs, i, high)
        poke(slots, i, slot)


@kernel
def rehash(old, new):
    """Copy every entry of the table `old` into the empty table `new`."""
    for old_slot in range(0, len(old), FIELDS):
        if is_free(old, old_slot):
            continue
        slot = first_slot(old[old_slot + KEY_LOW], old[old_slot + KEY_HIGH], len(new) // FIELDS)
        while not is_free(new, slot):
            slot = next_slot(new, slot)
        for field in range(FIELDS):
            poke(new, slot + field, old[old_slot + field])


def empty_entries(capacity: int) -> np.ndarray:
    """Return a table for `capacity` entries (a power of two), all free, on a cache-line boundary."""
    line = 64
    raw = np.zeros(FIELDS * capacity * 8 + line, np.uint8)
    skip = -raw.ctypes.data % line
    return raw[skip : skip + FIELDS * capacity * 8].view(np.uint64)
