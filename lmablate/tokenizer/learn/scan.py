"""Find the pairs that are worth tracking: count all pairs in all records, and keep the frequent ones."""

import numpy as np

from lmablate.tokenizer.learn.lazy_heap import push_pair
from lmablate.tokenizer.learn.pairs import UNTRACKED, list_record, no_pairs, track, with_room
from lmablate.tokenizer.learn.words import HEADER, count_of, end_of
from lmablate.tokenizer.native.jit import kernel, step
from lmablate.tokenizer.native.pairtable import find_pair, first_place, pair_key

# Pairs at least 1/256 as frequent as the most frequent one are tracked: so there are few scans, and few pairs.
THRESHOLD_RATIO = 256

_FIRST_CAPACITY = 1 << 16
_ONE = np.uint64(1)


@kernel
def scan(words, tokens, ratio):
    """Return the tracked pairs: all that are at least 1/ratio as frequent as the most frequent one."""
    keys, counts, occurrences = _count_pairs(words)
    most = 0
    for count in counts:
        most = max(most, count)
    threshold = max(1, most // ratio)
    pairs, room = 0, 0
    for i in range(len(keys)):
        if counts[i] >= threshold:
            pairs += 1
            room += occurrences[i]
    tracked = with_room(no_pairs(threshold), 2 * pairs, 2 * room)
    for i in range(len(keys)):
        if counts[i] >= threshold:
            key = keys[i] - _ONE
            pair = track(key >> np.uint64(16), key & np.uint64(0xFFFF), counts[i], occurrences[i], tracked)
            push_pair(pair, tracked, tokens)
    lists = tracked.list_begins, tracked.list_lengths, tracked.occurrences
    _list_all(words.records, words.begins, tracked.numbers, *lists)
    return tracked


@step
def _count_pairs(words):
    """Count all pairs in all records.

    Returns:
        A hash table of three arrays: (keys + 1, uint64, 0 if free; how often each pair occurs in the corpus, int64; and
        how often in the records, each taken once, int64).
    """
    capacity, used = _FIRST_CAPACITY, 0
    keys = np.zeros(capacity, np.uint64)
    counts = np.zeros(capacity, np.int64)
    occurrences = np.zeros(capacity, np.int64)
    records = words.records
    for record in words.begins:
        count = count_of(records, record)
        for i in range(record + HEADER, end_of(records, record) - 1):
            key = pair_key(records[i], records[i + 1])
            at = first_place(key, capacity)
            while keys[at] != 0 and keys[at] != key + _ONE:
                at = (at + 1) & (capacity - 1)
            used += keys[at] == 0
            keys[at] = key + _ONE
            counts[at] += count
            occurrences[at] += 1
        if 2 * used > capacity:
            keys, counts, occurrences = _widened(keys, counts, occurrences)
            capacity = len(keys)
    return keys, counts, occurrences


@step
def _widened(keys, counts, occurrences):
    """Return the same hash table with four times as many places."""
    capacity = 4 * len(keys)
    new_keys = np.zeros(capacity, np.uint64)
    new_counts = np.zeros(capacity, np.int64)
    new_occurrences = np.zeros(capacity, np.int64)
    for i in range(len(keys)):
        if keys[i] != 0:
            at = first_place(keys[i] - _ONE, capacity)
            while new_keys[at] != 0:
                at = (at + 1) & (capacity - 1)
            new_keys[at] = keys[i]
            new_counts[at] = counts[i]
            new_occurrences[at] = occurrences[i]
    return new_keys, new_counts, new_occurrences


@step
def _list_all(records, begins, numbers, list_begins, list_lengths, occurrences):
    """List every record, once, for each tracked pair in it."""
    for record in begins:
        for i in range(record + HEADER, end_of(records, record) - 1):
            pair = find_pair(numbers, records[i], records[i + 1], UNTRACKED)
            if pair != UNTRACKED:
                last = list_begins[pair] + list_lengths[pair] - 1
                if list_lengths[pair] == 0 or occurrences[last] != record:
                    list_record(record, pair, list_begins, list_lengths, occurrences)
