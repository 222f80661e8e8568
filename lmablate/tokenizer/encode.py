"""Turn text into token ids: look every pre-token up, and merge only those that were never seen before.

Real text repeats its words, so nearly all the work is one lookup in a word table (see `native.wordtable`) whose entry
holds the ids. Lookups are made in batches: first the keys of a whole batch, each of which asks for its cache line, then
the comparisons, when the lines have arrived. Special tokens are words that the table knows from the beginning; ordinary
text cannot contain one, so no rule of precedence is needed here.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.apply_merges import LONGEST_SCANNED, merge_by_heap, merge_by_scan, merge_rules
from lmablate.tokenizer.native.intrinsics import load_u64, peek, store_u64
from lmablate.tokenizer.native.jit import inline, kernel, step
from lmablate.tokenizer.native.wordtable import (
    ARENA_PADDING,
    ARENA_USED,
    ENTRIES_USED,
    FIELDS,
    INLINE,
    INLINE_IDS,
    KEY_HIGH,
    KEY_LOW,
    PAYLOAD,
    SHORT,
    empty_entries,
    equal_bytes,
    find_first_slots,
    first_slot,
    has_key,
    is_free,
    is_long,
    key_of,
    next_slot,
    rehash,
)
from lmablate.tokenizer.split.batches import next_batch
from lmablate.tokenizer.split.chunks import Chunk
from lmablate.tokenizer.split.pattern import STARTS_CAPACITY
from lmablate.tokenizer.split.text import padded
from lmablate.tokenizer.split.unicode_classes import class_table

# Length in bytes of the longest word that is remembered; longer ones are too rare to be worth a place in the cache.
_LONGEST_CACHED = 255
# Entries of a new cache, and of the largest one. A small table stays in the processor's own memory.
_FIRST_CAPACITY, _LAST_CAPACITY = 1 << 18, 1 << 20
_ARENA_BYTES = 32 << 20
# Ids are written four at a time, so up to three more may be written after the last.
_IDS_PADDING = 4

# A payload is the number of ids, or that and an offset << 8.
_COUNT_MASK = 0xFF
_OFFSET_SHIFT = 8


class WordCache(NamedTuple):
    """A word table whose entries hold ids.

    Attributes:
        entries: the table, uint64, see `native.wordtable`.
        arena: bytes of long words, and ids that do not fit into their entries: uint8.
        used: how many entries and how many bytes of the arena are in use: int64 [2], see `wordtable.ENTRIES_USED`.
    """

    entries: np.ndarray
    arena: np.ndarray
    used: np.ndarray


class Encoder:
    """Encodes with one list of merges. Threads may share it, but each cache may be used by only one thread at a time.

    Args:
        ids: the id of every token.
        merges: pairs of tokens, in the order in which they are merged.
        specials: the special tokens in UTF-8.
    """

    def __init__(self, ids: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]], specials: Sequence[bytes]):
        self._rules = merge_rules(ids, merges)
        self._seeds = [(padded(special), len(special), ids[special]) for special in specials]

    def new_cache(self) -> WordCache:
        """Return a cache that knows only the special tokens; its memory is taken only as it fills."""
        # Offset 0 must stay unused.
        used = np.array([0, ARENA_PADDING], np.int64)
        cache = WordCache(empty_entries(_FIRST_CAPACITY), np.empty(_ARENA_BYTES, np.uint8), used)
        for text, size, token_id in self._seeds:
            _seed(text, size, token_id, cache)
        return cache

    def with_room(self, cache: WordCache) -> WordCache:
        """Return the cache itself, or a larger one that knows the same words if half of its entries are in use."""
        capacity = len(cache.entries) // FIELDS
        if capacity == _LAST_CAPACITY or 2 * cache.used[ENTRIES_USED] < capacity:
            return cache
        larger = cache._replace(entries=empty_entries(4 * capacity))
        rehash(cache.entries, larger.entries)
        return larger

    def encode(self, chunk: Chunk, cache: WordCache) -> np.ndarray:
        """Return the ids of a chunk, uint16, and add its new words to the cache."""
        out = np.empty(chunk.size + _IDS_PADDING, np.uint16)
        count = _encode_text(chunk.text, chunk.size, chunk.specials, class_table(), self._rules, cache, out)
        return out[:count]


@kernel
def _encode_text(text, size, specials, classes, rules, cache, out):
    """Write the ids of text[:size] to `out`, and return how many there are.

    Args:
        text: uint8, padded (see `text.PADDING`).
        size: number of bytes.
        specials: where special tokens begin and end, int64 [n, 2].
        classes: see `unicode_classes.class_table`.
        rules: see `apply_merges.MergeRules`.
        cache: see `WordCache`.
        out: uint16 [size + _IDS_PADDING].
    """
    entries = cache.entries
    starts = np.empty(STARTS_CAPACITY, np.int64)
    lows = np.empty(STARTS_CAPACITY, np.uint64)
    highs = np.empty(STARTS_CAPACITY, np.uint64)
    slots = np.empty(STARTS_CAPACITY, np.int64)
    ranks = np.empty(LONGEST_SCANNED, np.int64)
    written, at, next_special = 0, 0, 0
    while at < size:
        count, at, next_special = next_batch(text, at, size, specials, next_special, classes, starts)
        find_first_slots(text, starts, count, entries, lows, highs, slots)
        for i in range(count):
            low, high, slot = peek(lows, i), peek(highs, i), peek(slots, i)
            payload = np.int64(peek(entries, slot + PAYLOAD))
            if has_key(entries, slot, low, high) and payload <= INLINE_IDS:
                store_u64(out, written, peek(entries, slot + INLINE))
                written += payload
            else:
                start = starts[i]
                written += _encode_uncommon(
                    text, start, starts[i + 1] - start, low, high, slot, rules, cache, ranks, out, written
                )
    return written


@step
def _encode_uncommon(text, start, length, low, high, slot, rules, cache, ranks, out, written):
    """Write the ids of a word that is not inline at `slot`: search on, or else merge the word and remember it.

    Args:
        text: uint8, padded.
        start: where the word begins in `text`.
        length: its length in bytes.
        low: its key, see `native.wordtable`.
        high: likewise.
        slot: where the search for it begins.
        rules: see `apply_merges.MergeRules`.
        cache: see `WordCache`.
        ranks: scratch space, int64 [LONGEST_SCANNED].
        out: receives the ids, uint16, from `written` on.
        written: an index in `out`.

    Returns:
        The number of ids.
    """
    # Plain names: numba counts references atomically each time that an array leaves a tuple.
    entries, arena = cache.entries, cache.arena
    while not is_free(entries, slot):
        if has_key(entries, slot, low, high):
            payload = np.int64(entries[slot + PAYLOAD])
            if payload <= INLINE_IDS:
                store_u64(out, written, entries[slot + INLINE])
                return payload
            count, offset = payload & _COUNT_MASK, payload >> _OFFSET_SHIFT
            if not is_long(high):
                _copy_ids(arena, offset, count, out, written)
                return count
            if equal_bytes(arena, offset, text, start, length):
                _copy_ids(arena, offset + length, count, out, written)
                return count
        slot = next_slot(entries, slot)
    if length <= LONGEST_SCANNED:
        count = merge_by_scan(text, start, length, rules, ranks, out, written)
    else:
        count = merge_by_heap(text, start, length, rules, out, written)
    _remember(cache, slot, low, high, text, start, length, out, written, count)
    return count


@inline
def _copy_ids(arena, offset, count, out, written):
    """Copy `count` ids from the arena to `out`, four at a time."""
    for i in range(0, count, INLINE_IDS):
        store_u64(out, written + i, load_u64(arena, offset + 2 * i))


@step
def _remember(cache, slot, low, high, text, start, length, out, written, count):
    """Make the free entry at `slot` hold a word and its ids, if there is room and the word is not too long.

    Args:
        cache: see `WordCache`.
        slot: the entry.
        low: the word's key, see `native.wordtable`.
        high: likewise.
        text: uint8.
        start: where the word begins in `text`.
        length: its length in bytes.
        out: the word's ids are out[written:written + count], uint16.
        written: see `out`.
        count: see `out`.
    """
    entries, arena, used = cache.entries, cache.arena, cache.used
    is_inline = count <= INLINE_IDS and length < SHORT
    word_bytes = length if length >= SHORT else 0
    offset = used[ARENA_USED]
    new_offset = offset if is_inline else offset + word_bytes + 2 * count
    # A quarter of the entries stays free, so that searches stay short.
    crowded = 4 * used[ENTRIES_USED] >= 3 * (len(entries) // FIELDS)
    if crowded or length > _LONGEST_CACHED or new_offset + ARENA_PADDING > len(arena):
        return
    inline_ids = np.uint64(0)
    if is_inline:
        for i in range(count):
            inline_ids |= np.uint64(out[written + i]) << np.uint64(16 * i)
    else:
        for i in range(word_bytes):
            arena[offset + i] = text[start + i]
        for i in range(count):
            arena[offset + word_bytes + 2 * i] = out[written + i] & 0xFF
            arena[offset + word_bytes + 2 * i + 1] = out[written + i] >> 8
    entries[slot + KEY_LOW] = low
    entries[slot + KEY_HIGH] = high
    entries[slot + PAYLOAD] = np.uint64(count if is_inline else count | offset << _OFFSET_SHIFT)
    entries[slot + INLINE] = inline_ids
    used[ENTRIES_USED] += 1
    used[ARENA_USED] = new_offset


@kernel
def _seed(text, size, token_id, cache):
    """Make the word text[:size], with one id, known to a cache from the beginning."""
    low, high = key_of(text, 0, size)
    slot = first_slot(low, high, len(cache.entries) // FIELDS)
    while not is_free(cache.entries, slot):
        slot = next_slot(cache.entries, slot)
    out = np.empty(1, np.uint16)
    out[0] = token_id
    _remember(cache, slot, low, high, text, 0, size, out, 0, 1)
