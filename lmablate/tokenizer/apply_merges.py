"""Merge one word into tokens: by scanning the word if it is short, with a heap if it is long.

Both do the same: while some pair of neighbours has a rank, replace the pair of the lowest rank, the leftmost one if
there are several. This is `naive.NaiveEncoder` made fast.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.native.heap import push, replace_first
from lmablate.tokenizer.native.jit import inline, kernel, step
from lmablate.tokenizer.native.pairtable import find_pair, insert_pair

# The rank of a pair that is not merged.
NO_RANK = np.int64(0xFFFF_FFFF)
# Length in bytes up to which looking for the best pair by scanning the word is faster than a heap.
LONGEST_SCANNED = 64


class MergeRules(NamedTuple):
    """The merges, as the kernels need them. A merge's rank is its place in the list: the lowest is merged first.

    Attributes:
        byte_ids: the id of each byte, uint16 [256].
        byte_pair_ranks: the rank of the merge of bytes a and b at 256 a + b, or NO_RANK: uint32 [65536].
        ranks: a pair table, see `native.pairtable`, of the merges' ids and ranks.
        merged: the id that a merge makes, by rank: uint16 [merges].
    """

    byte_ids: np.ndarray
    byte_pair_ranks: np.ndarray
    ranks: np.ndarray
    merged: np.ndarray


def merge_rules(ids: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> MergeRules:
    """Return the rules of a list of merges, given the ids of all tokens."""
    byte_ids = np.array([ids[bytes([byte])] for byte in range(256)], np.uint16)
    lefts = np.array([ids[left] for left, _ in merges], np.uint16)
    rights = np.array([ids[right] for _, right in merges], np.uint16)
    merged = np.array([ids[left + right] for left, right in merges], np.uint16)
    byte_pair_ranks = np.full(1 << 16, NO_RANK, np.uint32)
    for rank, (left, right) in enumerate(merges):
        if len(left) == len(right) == 1:
            byte_pair_ranks[256 * left[0] + right[0]] = rank
    # Four times as many places as pairs: most pairs asked for have no rank, and that search ends at a free place.
    ranks = np.zeros(1 << (4 * len(merges) + 1).bit_length(), np.uint64)
    _insert_all(ranks, lefts, rights)
    return MergeRules(byte_ids, byte_pair_ranks, ranks, merged)


@kernel
def _insert_all(ranks, lefts, rights):
    for rank in range(len(lefts)):
        insert_pair(ranks, lefts[rank], rights[rank], rank)


@step
def merge_by_scan(text, start, length, rules, ranks, out, written):
    """Merge a word of up to LONGEST_SCANNED bytes.

    Args:
        text: uint8.
        start: where the word begins in `text`.
        length: its length in bytes.
        rules: see `MergeRules`.
        ranks: scratch space, int64 [LONGEST_SCANNED]; ranks[i] is the rank of the pair of ids i and i + 1.
        out: receives the ids, uint16, from `written` on.
        written: an index in `out`.

    Returns:
        The number of ids.
    """
    # Plain names: numba counts references atomically each time that an array leaves a tuple.
    byte_ids, byte_pair_ranks, pairs, merged = rules.byte_ids, rules.byte_pair_ranks, rules.ranks, rules.merged
    for i in range(length):
        out[written + i] = byte_ids[text[start + i]]
    for i in range(length - 1):
        ranks[i] = byte_pair_ranks[256 * np.int64(text[start + i]) + text[start + i + 1]]
    while length > 1:
        best = 0
        for i in range(1, length - 1):
            if ranks[i] < ranks[best]:
                best = i
        if ranks[best] == NO_RANK:
            break
        out[written + best] = merged[ranks[best]]
        length -= 1
        for i in range(best + 1, length):
            out[written + i] = out[written + i + 1]
            ranks[i - 1] = ranks[i]
        if best > 0:
            ranks[best - 1] = find_pair(pairs, out[written + best - 1], out[written + best], NO_RANK)
        if best < length - 1:
            ranks[best] = find_pair(pairs, out[written + best], out[written + best + 1], NO_RANK)
    return length


@inline
def _goes_first(rank, position, other_rank, other_position, order):
    """Return whether a pair is to be merged before the other one; the heap's `order` is not needed."""
    if rank != other_rank:
        return rank < other_rank
    return position < other_position


@step
def merge_by_heap(text, start, length, rules, out, written):
    """Merge a word of n bytes in O(n log n), with a linked list of ids and a heap of pairs.

    An item of the heap is a pair's rank, and the position of the pair's left id. The item is out of date if the pair at
    that position no longer has that rank; it is then skipped.

    Args:
        text: uint8.
        start: where the word begins in `text`.
        length: its length in bytes.
        rules: see `MergeRules`.
        out: receives the ids, uint16, from `written` on.
        written: an index in `out`.

    Returns:
        The number of ids.
    """
    ids = np.empty(length, np.int64)
    following = np.empty(length, np.int64)
    preceding = np.empty(length, np.int64)
    ranks = np.empty(length, np.int64)
    heap_ranks = np.empty(2 * length, np.int64)
    heap_positions = np.empty(2 * length, np.int64)
    size = 0
    for i in range(length):
        ids[i] = rules.byte_ids[text[start + i]]
        following[i] = i + 1
        preceding[i] = i - 1
    for i in range(length):
        ranks[i] = find_pair(rules.ranks, ids[i], ids[i + 1], NO_RANK) if i + 1 < length else NO_RANK
        if ranks[i] != NO_RANK:
            push(ranks[i], i, heap_ranks, heap_positions, size, _goes_first, ())
            size += 1
    while size > 0:
        rank, left = heap_ranks[0], heap_positions[0]
        size -= 1
        replace_first(heap_ranks[size], heap_positions[size], heap_ranks, heap_positions, size, _goes_first, ())
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
            ranks[first] = find_pair(rules.ranks, ids[first], ids[second], NO_RANK) if second < length else NO_RANK
            if ranks[first] != NO_RANK:
                push(ranks[first], first, heap_ranks, heap_positions, size, _goes_first, ())
                size += 1
    count, at = 0, 0
    while at < length:
        out[written + count] = ids[at]
        count += 1
        at = following[at]
    return count
