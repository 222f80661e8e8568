"""The tracked pairs, and for each the list of the records in which it occurs.

A pair is known by its number: 0, 1, 2, ... in the order in which pairs were tracked. `Tracked.numbers` finds the number
of a pair of symbols. The lists lie one after the other in one array. A list that must grow moves to the end of it.
"""

from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.native.arrays import grown
from lmablate.tokenizer.native.jit import inline, step
from lmablate.tokenizer.native.pairtable import insert_pair

# Instead of a pair's number: the pair is not tracked.
UNTRACKED = -1

# The numbers in Tracked.state: how many pairs are tracked, how many `occurrences` and items of the heap are in use, how
# often a new pair must occur to be tracked, and how often an untracked pair occurs at most.
PAIRS_USED, OCCURRENCES_USED, HEAP_SIZE, THRESHOLD, BOUND = 0, 1, 2, 3, 4

_FIRST_TABLE = 1 << 16


class Tracked(NamedTuple):
    """The tracked pairs. Except for `numbers`, the arrays may have free space at their ends.

    Attributes:
        lefts: the left symbol of each pair, uint16.
        rights: its right symbol, uint16.
        counts: how often it occurs, int64.
        list_begins: where its list begins in `occurrences`, int64.
        list_lengths: the length of its list, int64.
        occurrences: the lists, of places where records begin: uint32. A record may have lost the pair since it was
            listed.
        numbers: a pair table, see `native.pairtable`.
        heap_counts: the heap, see `lazy_heap`: counts, which may be too high: int64.
        heap_pairs: the pair of each item of the heap, int64.
        state: int64 [5], see PAIRS_USED and the names beside it.
    """

    lefts: np.ndarray
    rights: np.ndarray
    counts: np.ndarray
    list_begins: np.ndarray
    list_lengths: np.ndarray
    occurrences: np.ndarray
    numbers: np.ndarray
    heap_counts: np.ndarray
    heap_pairs: np.ndarray
    state: np.ndarray


@step
def no_pairs(threshold):
    """Return `Tracked` without pairs, given how often a pair must occur to be tracked."""
    symbols = np.empty(0, np.uint16)
    empty = np.empty(0, np.int64)
    occurrences = np.empty(0, np.uint32)
    numbers = np.zeros(_FIRST_TABLE, np.uint64)
    state = np.array([0, 0, 0, threshold, threshold - 1])
    return Tracked(symbols, symbols, empty, empty, empty, occurrences, numbers, empty, empty, state)


@step
def with_room(tracked, pairs, occurrences):
    """Return `tracked` with room for more pairs (each may enter the heap once more) and more occurrences.

    Args:
        tracked: the pairs, which must not be used again.
        pairs: number of additional pairs.
        occurrences: number of additional occurrences.
    """
    pairs += tracked.state[PAIRS_USED]
    numbers = tracked.numbers
    if 2 * pairs > len(numbers):
        numbers = np.zeros(4 * len(numbers), np.uint64)
        while 2 * pairs > len(numbers):
            numbers = np.zeros(4 * len(numbers), np.uint64)
        for pair in range(tracked.state[PAIRS_USED]):
            insert_pair(numbers, tracked.lefts[pair], tracked.rights[pair], pair)
    heap = tracked.state[HEAP_SIZE] + pairs - tracked.state[PAIRS_USED]
    return Tracked(
        grown(tracked.lefts, pairs),
        grown(tracked.rights, pairs),
        grown(tracked.counts, pairs),
        grown(tracked.list_begins, pairs),
        grown(tracked.list_lengths, pairs),
        grown(tracked.occurrences, tracked.state[OCCURRENCES_USED] + occurrences),
        numbers,
        grown(tracked.heap_counts, heap),
        grown(tracked.heap_pairs, heap),
        tracked.state,
    )


@inline
def track(left, right, count, room, tracked):
    """Begin to track a pair of symbols that occurs `count` times, in up to `room` records; return its number."""
    pair = tracked.state[PAIRS_USED]
    tracked.lefts[pair] = left
    tracked.rights[pair] = right
    tracked.counts[pair] = count
    tracked.list_begins[pair] = tracked.state[OCCURRENCES_USED]
    tracked.list_lengths[pair] = 0
    insert_pair(tracked.numbers, left, right, pair)
    tracked.state[PAIRS_USED] += 1
    tracked.state[OCCURRENCES_USED] += room
    return pair


@inline
def list_record(record, pair, list_begins, list_lengths, occurrences):
    """Add a record to a pair's list, which must have room for it.

    Args:
        record: where the record begins.
        pair: the pair's number.
        list_begins: see `Tracked`.
        list_lengths: see `Tracked`.
        occurrences: see `Tracked`.
    """
    occurrences[list_begins[pair] + list_lengths[pair]] = record
    list_lengths[pair] += 1


@step
def relist(pair, more, tracked):
    """Move a pair's list to the end of the occurrences, with room for `more` records there."""
    begin = tracked.list_begins[pair]
    new_begin = tracked.state[OCCURRENCES_USED]
    for i in range(tracked.list_lengths[pair]):
        tracked.occurrences[new_begin + i] = tracked.occurrences[begin + i]
    tracked.list_begins[pair] = new_begin
    tracked.state[OCCURRENCES_USED] += tracked.list_lengths[pair] + more
