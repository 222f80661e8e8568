"""Turn text into token ids: look every pre-token up, merge only those never seen before.

Real text repeats its words, so nearly all the work is one lookup in a word table (see `wordtable`) whose
entry holds the ids. Lookups are made in batches: first the keys of a whole batch, each asking for its cache
line, then the comparisons, when the lines have arrived. Special tokens are words that the table knows from
the beginning; ordinary text cannot contain one, so no rule of precedence is needed here.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.batches import next_batch
from lmablate.tokenizer.chunks import Chunk, padded
from lmablate.tokenizer.intrinsics import load_u64, multiply_fold, peek, poke, prefetch, store_u64
from lmablate.tokenizer.jit import inline, kernel, step
from lmablate.tokenizer.pretokenize import STARTS_CAPACITY
from lmablate.tokenizer.unicode_classes import class_table
from lmablate.tokenizer.wordtable import (
    ARENA_PADDING,
    FIELDS,
    INLINE,
    INLINE_IDS,
    KEY_HIGH,
    KEY_LOW,
    PAYLOAD,
    SHORT,
    empty_entries,
    equal_bytes,
    first_slot,
    has_key,
    is_free,
    is_long,
    key_of,
    next_slot,
)

NO_RANK = np.int64(0xFFFF_FFFF)
# Longer words are too rare to be worth a place in the cache.
LONGEST_CACHED = 255
# Up to here, looking for the best pair by scanning the word is faster than a heap.
LONGEST_SCANNED = 64
CACHE_CAPACITY = 1 << 20
ARENA_BYTES = 32 << 20
# Ids are written four at a time, so up to three land behind the last.
IDS_PADDING = 4

_EMPTY_PAIR = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_HALF = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_OFFSET_SHIFT = 8
_COUNT_MASK = 0xFF
_PAIR_MIXER = np.uint64(0x9E3779B97F4A7C15)
_POSITION_BITS = 40

# The fields of WordCache.used.
ENTRIES_USED, ARENA_USED = 0, 1


class MergeRules(NamedTuple):
    """The merges, as the kernels want them. A merge's rank is its place in the list: the lowest goes first.

    byte_ids:        uint16 [256], the token of each byte
    byte_pair_ranks: uint32 [65536], the rank of the merge of bytes a and b at 256 a + b, or NO_RANK
    pairs:           uint64 [power of two], a hash table: (left id << 16 | right id) << 32 | rank
    merged:          uint16 [merges], the token that a merge makes
    """

    byte_ids: np.ndarray
    byte_pair_ranks: np.ndarray
    pairs: np.ndarray
    merged: np.ndarray


class WordCache(NamedTuple):
    """A word table, the arena for what does not fit into it, and how much of both is used (int64 [2])."""

    entries: np.ndarray
    arena: np.ndarray
    used: np.ndarray


@inline
def _first_pair(pair, capacity):
    return np.int64(multiply_fold(pair, _PAIR_MIXER) & np.uint64(capacity - 1))


@kernel
def _insert_pairs(pairs, lefts, rights):
    for rank in range(len(lefts)):
        pair = np.uint64(lefts[rank]) << np.uint64(16) | np.uint64(rights[rank])
        at = _first_pair(pair, len(pairs))
        while pairs[at] != _EMPTY_PAIR:
            at = (at + 1) & (len(pairs) - 1)
        pairs[at] = pair << _HALF | np.uint64(rank)


@inline
def _rank_of(pairs, left, right):
    """The rank of the merge of two ids, or NO_RANK."""
    pair = np.uint64(left) << np.uint64(16) | np.uint64(right)
    at = _first_pair(pair, len(pairs))
    while True:
        found = peek(pairs, at)
        if found >> _HALF == pair and found != _EMPTY_PAIR:
            return np.int64(found & _LOW_HALF)
        if found == _EMPTY_PAIR:
            return NO_RANK
        at = (at + 1) & (len(pairs) - 1)


@step
def _merge_by_scan(text, start, length, rules, ranks, out, written):
    """Merge a short word in out[written:]; returns the number of ids. ranks[i] is of the pair i, i + 1."""
    for i in range(length):
        out[written + i] = rules.byte_ids[text[start + i]]
    for i in range(length - 1):
        ranks[i] = rules.byte_pair_ranks[256 * np.int64(text[start + i]) + text[start + i + 1]]
    while length > 1:
        best = 0
        for i in range(1, length - 1):
            if ranks[i] < ranks[best]:
                best = i
        if ranks[best] == NO_RANK:
            break
        out[written + best] = rules.merged[ranks[best]]
        length -= 1
        for i in range(best + 1, length):
            out[written + i] = out[written + i + 1]
            ranks[i - 1] = ranks[i]
        if best > 0:
            ranks[best - 1] = _rank_of(rules.pairs, out[written + best - 1], out[written + best])
        if best < length - 1:
            ranks[best] = _rank_of(rules.pairs, out[written + best], out[written + best + 1])
    return length


@step
def _push(heap, size, item):
    """Add an item to the binary min-heap heap[:size]; returns the new size."""
    child = size
    while child > 0 and heap[(child - 1) >> 1] > item:
        heap[child] = heap[(child - 1) >> 1]
        child = (child - 1) >> 1
    heap[child] = item
    return size + 1


@step
def _drop_least(heap, size):
    """Remove heap[0], the least item; returns the new size."""
    size -= 1
    item = heap[size]
    parent = 0
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = item
    return size


@step
def _merge_by_heap(text, start, length, rules, out, written):
    """Merge a long word in O(n log n): a linked list of ids, and a heap of rank << 40 | left position.

    An item of the heap is stale when the pair at its position no longer has its rank; it is then passed over.
    """
    ids = np.empty(length, np.int64)
    following = np.empty(length, np.int64)
    preceding = np.empty(length, np.int64)
    ranks = np.empty(length, np.int64)
    heap = np.empty(2 * length, np.int64)
    size = 0
    for i in range(length):
        ids[i] = rules.byte_ids[text[start + i]]
        following[i] = i + 1
        preceding[i] = i - 1
    for i in range(length):
        ranks[i] = _rank_of(rules.pairs, ids[i], ids[i + 1]) if i + 1 < length else NO_RANK
        if ranks[i] != NO_RANK:
            size = _push(heap, size, ranks[i] << _POSITION_BITS | i)
    while size > 0:
        rank, left = heap[0] >> _POSITION_BITS, heap[0] & ((1 << _POSITION_BITS) - 1)
        size = _drop_least(heap, size)
        if ranks[left] != rank:
            continue
        right = following[left]
        ids[left] = rules.merged[rank]
        ranks[right] = NO_RANK
        following[left] = following[right]
        if following[left] < length:
            preceding[following[left]] = left
        for first in (preceding[left], left):
            if first < 0:
                continue
            second = following[first]
            ranks[first] = _rank_of(rules.pairs, ids[first], ids[second]) if second < length else NO_RANK
            if ranks[first] != NO_RANK:
                size = _push(heap, size, ranks[first] << _POSITION_BITS | first)
    count, at = 0, 0
    while at < length:
        out[written + count] = ids[at]
        count += 1
        at = following[at]
    return count


@inline
def _copy_ids(arena, offset, count, out, written):
    for i in range(0, count, INLINE_IDS):
        store_u64(out, written + i, load_u64(arena, offset + 2 * i))


@step
def _remember(cache, slot, low, high, text, start, length, out, written, count):
    """Make the free entry at `slot` hold a word and its ids, if there is room."""
    is_inline = count <= INLINE_IDS and length < SHORT
    word_bytes = length if length >= SHORT else 0
    offset = cache.used[ARENA_USED]
    new_offset = offset if is_inline else offset + word_bytes + 2 * count
    # A quarter of the entries stays free, so that probing stays short.
    crowded = 4 * cache.used[ENTRIES_USED] >= 3 * (len(cache.entries) // FIELDS)
    if crowded or length > LONGEST_CACHED or new_offset + ARENA_PADDING > len(cache.arena):
        return
    inline_ids = np.uint64(0)
    if is_inline:
        for i in range(count):
            inline_ids |= np.uint64(out[written + i]) << np.uint64(16 * i)
    else:
        for i in range(word_bytes):
            cache.arena[offset + i] = text[start + i]
        for i in range(count):
            cache.arena[offset + word_bytes + 2 * i] = out[written + i] & 0xFF
            cache.arena[offset + word_bytes + 2 * i + 1] = out[written + i] >> 8
    cache.entries[slot + KEY_LOW] = low
    cache.entries[slot + KEY_HIGH] = high
    cache.entries[slot + PAYLOAD] = np.uint64(count if is_inline else count | offset << _OFFSET_SHIFT)
    cache.entries[slot + INLINE] = inline_ids
    cache.used[ENTRIES_USED] += 1
    cache.used[ARENA_USED] = new_offset


@step
def _encode_uncommon(text, start, length, low, high, slot, rules, cache, ranks, out, written):
    """Write the ids of a word that is not inline at `slot`: probe on, or else merge it. Returns how many."""
    while not is_free(cache.entries, slot):
        if has_key(cache.entries, slot, low, high):
            payload = np.int64(cache.entries[slot + PAYLOAD])
            if payload <= INLINE_IDS:
                store_u64(out, written, cache.entries[slot + INLINE])
                return payload
            count, offset = payload & _COUNT_MASK, payload >> _OFFSET_SHIFT
            if not is_long(high):
                _copy_ids(cache.arena, offset, count, out, written)
                return count
            if equal_bytes(cache.arena, offset, text, start, length):
                _copy_ids(cache.arena, offset + length, count, out, written)
                return count
        slot = next_slot(cache.entries, slot)
    if length <= LONGEST_SCANNED:
        count = _merge_by_scan(text, start, length, rules, ranks, out, written)
    else:
        count = _merge_by_heap(text, start, length, rules, out, written)
    _remember(cache, slot, low, high, text, start, length, out, written, count)
    return count


@kernel
def _encode_text(text, size, specials, classes, rules, cache, out):
    """Write the ids of text[:size] to out (uint16 [size + IDS_PADDING]); returns how many they are."""
    entries = cache.entries
    capacity = len(entries) // FIELDS
    starts = np.empty(STARTS_CAPACITY, np.int64)
    lows = np.empty(STARTS_CAPACITY, np.uint64)
    highs = np.empty(STARTS_CAPACITY, np.uint64)
    slots = np.empty(STARTS_CAPACITY, np.int64)
    ranks = np.empty(LONGEST_SCANNED, np.int64)
    written, at, next_special = 0, 0, 0
    while at < size:
        count, at, next_special = next_batch(text, at, size, specials, next_special, classes, starts)
        for i in range(count):
            start = peek(starts, i)
            low, high = key_of(text, start, peek(starts, i + 1) - start)
            slot = first_slot(low, high, capacity)
            prefetch(entries, slot)
            poke(lows, i, low)
            poke(highs, i, high)
            poke(slots, i, slot)
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


@kernel
def _seed(text, size, token_id, cache):
    """Make a word known from the beginning, with one id."""
    low, high = key_of(text, 0, size)
    slot = first_slot(low, high, len(cache.entries) // FIELDS)
    while not is_free(cache.entries, slot):
        slot = next_slot(cache.entries, slot)
    out = np.empty(1, np.uint16)
    out[0] = token_id
    _remember(cache, slot, low, high, text, 0, size, out, 0, 1)


class Encoder:
    """What one tokenizer needs to encode; its caches may be used by one thread each."""

    def __init__(self, ids: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]], specials: Sequence[bytes]):
        self._rules = _merge_rules(ids, merges)
        self._seeds = [(padded(special), len(special), ids[special]) for special in specials]

    def new_cache(self) -> WordCache:
        """An empty cache; its memory is taken only as it fills."""
        # Offset 0 must stay unused.
        used = np.array([0, ARENA_PADDING], np.int64)
        cache = WordCache(empty_entries(CACHE_CAPACITY), np.empty(ARENA_BYTES, np.uint8), used)
        for text, size, token_id in self._seeds:
            _seed(text, size, token_id, cache)
        return cache

    def encode(self, chunk: Chunk, cache: WordCache) -> np.ndarray:
        """The ids of a chunk, uint16."""
        out = np.empty(chunk.size + IDS_PADDING, np.uint16)
        count = _encode_text(chunk.text, chunk.size, chunk.specials, class_table(), self._rules, cache, out)
        return out[:count]


def _merge_rules(ids: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> MergeRules:
    byte_ids = np.array([ids[bytes([byte])] for byte in range(256)], np.uint16)
    lefts = np.array([ids[left] for left, _ in merges], np.uint16)
    rights = np.array([ids[right] for _, right in merges], np.uint16)
    merged = np.array([ids[left + right] for left, right in merges], np.uint16)
    byte_pair_ranks = np.full(1 << 16, NO_RANK, np.uint32)
    for rank, (left, right) in enumerate(merges):
        if len(left) == len(right) == 1:
            byte_pair_ranks[256 * left[0] + right[0]] = rank
    # Four times as many places as pairs: most pairs asked for are not there, and a miss ends at a free place.
    pairs = np.full(1 << (4 * len(merges) + 1).bit_length(), _EMPTY_PAIR, np.uint64)
    _insert_pairs(pairs, lefts, rights)
    return MergeRules(byte_ids, byte_pair_ranks, pairs, merged)
