"""Learn the merges from counted words: exact, with local updates, for millions of distinct words.

**Words** are packed records, one after the other in an array of uint16: length (2 halves), count (4 halves),
then one symbol a half. A merge shortens a record in place, so all that a merge needs of a word lies in one or
two cache lines.

**Pairs.** Replacing (a, b) by t turns each pair beside an occurrence into another: x a b y loses (x, a) and
(b, y), gains (x, t) and (t, y). We call it a *move*; there is one sort of move for each left neighbour x, for
each right neighbour y, and for two occurrences side by side (a b a b: (b, a) becomes (t, t)). A merge visits
only the records that were listed for its pair, adds up the moves, and then updates each pair once.

**Only frequent pairs are tracked**: those that occur at least `threshold` times when they are born. For all
others we know just a bound: *no untracked pair occurs more often than `bound`*. While the most frequent
tracked pair is above the bound it is the most frequent of all; when it is not, the records are scanned afresh
with a lower threshold.

**Lazy heap.** The heap may hold counts that are too high, never too low: a count falls without a change to
the heap, and when it rises the pair is pushed again. So the top is right if its count is the pair's present
one; else it is put back with the present one.

A merge may make a token that exists already ("a" + "aa" after "aa" + "a"). It then adds to pairs that exist,
tracked or not, which is the only way that a count can rise after birth; for an untracked one the bound rises
with it.

**Plain arrays in inner loops.** numba counts references, atomically, whenever an array is taken out of a named
tuple. So a function that loops is handed the arrays themselves.
"""

from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.counting import word_at, word_length
from lmablate.tokenizer.intrinsics import load_u64, multiply_fold, peek, poke, prefetch, store_u64
from lmablate.tokenizer.jit import inline, kernel, step
from lmablate.tokenizer.wordtable import (
    ARENA_PADDING,
    FIELDS,
    INLINE,
    KEY_HIGH,
    KEY_LOW,
    PAYLOAD,
    empty_entries,
    equal_bytes,
    first_slot,
    has_key,
    is_free,
    is_long,
    key_of,
    next_slot,
)

SYMBOLS = 1 << 16
HEADER = 6
# Pairs at least 1/256 as frequent as the most frequent one are tracked: few scans, and few pairs.
THRESHOLD_RATIO = 256

_COUNT_FIELD = 2
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_UNTRACKED = -1

# Sorts of moves: BEFORE + x for a left neighbour x, AFTER + y for a right neighbour y, BETWEEN two
# occurrences.
BEFORE, AFTER, BETWEEN = 0, SYMBOLS, 2 * SYMBOLS
SORTS_OF_MOVES = 2 * SYMBOLS + 1

# The fields of Moves.sums, for each sort of move: how often it happened, in how many records, and the last of
# these. Once a merge has been carried out on the pairs, `LAST` is the pair that gained by the move instead.
WEIGHT, LISTED, LAST, MOVE_FIELDS = 0, 1, 2, 4

# The fields of Tracked.state.
PAIRS, OCCURRENCES, HEAP, THRESHOLD, BOUND = 0, 1, 2, 3, 4


class Words(NamedTuple):
    """The packed records (uint16) and where each begins (uint32)."""

    records: np.ndarray
    begins: np.ndarray


class Tokens(NamedTuple):
    """The tokens made so far, numbered by symbols: their bytes one after the other, and a word table of them.

    text: uint8; begins, lengths: int64 [SYMBOLS]; keys: uint64 [SYMBOLS], see `ties.TieRule`;
    table: entries whose payload is the symbol; state: int64 [2], how many tokens and bytes there are
    """

    text: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray
    table: np.ndarray
    state: np.ndarray


class Moves(NamedTuple):
    """What one merge does to the pairs.

    sums: int64 [SORTS_OF_MOVES * MOVE_FIELDS]; touched: int64, the sorts that happened;
    places: int64, sort << 32 | record, all of them in order of discovery
    """

    sums: np.ndarray
    touched: np.ndarray
    places: np.ndarray


class Tracked(NamedTuple):
    """The tracked pairs, the records in which each occurs, and the heap.

    lefts, rights:            uint16
    counts:                   int64
    list_begins, list_lengths: int64, into occurrences
    occurrences:              uint32, where records begin; some may be stale
    numbers:                  uint64 [power of two], a hash table: (left << 16 | right) << 32 | number + 1
    heap_counts, heap_pairs:  int64
    state:                    int64 [5], see PAIRS and so on
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


# ---------------------------------------------------------------------------------------------------- words


@kernel
def pack_words(counts):
    """The counted words of two bytes and more as records."""
    words, size = 0, 0
    for slot in range(0, len(counts.entries), FIELDS):
        if counts.entries[slot + PAYLOAD] > 0 and word_length(counts, slot) > 1:
            words += 1
            size += HEADER + word_length(counts, slot)
    records = np.empty(size + HEADER, np.uint16)
    begins = np.empty(words, np.uint32)
    words, at = 0, 0
    for slot in range(0, len(counts.entries), FIELDS):
        if counts.entries[slot + PAYLOAD] > 0 and word_length(counts, slot) > 1:
            length = word_at(counts, slot, records[at + HEADER :])
            _set_length(records, at, length)
            store_u64(records, at + _COUNT_FIELD, counts.entries[slot + PAYLOAD])
            begins[words] = at
            words += 1
            at += HEADER + length
    return Words(records, begins)


@inline
def _set_length(records, record, length):
    records[record] = length & 0xFFFF
    records[record + 1] = length >> 16


@inline
def _end(records, record):
    return record + HEADER + (np.int64(records[record]) | np.int64(records[record + 1]) << 16)


@inline
def _count(records, record):
    return np.int64(load_u64(records, record + _COUNT_FIELD))


# ---------------------------------------------------------------------------------------------------- tokens


@step
def _grown(array, needed):
    """The array itself if it has room for `needed` items, or else a copy at least twice as long."""
    if needed <= len(array):
        return array
    larger = np.empty(max(needed, 2 * len(array)), array.dtype)
    for i in range(len(array)):
        larger[i] = array[i]
    return larger


@inline
def _prefix(text, begin, length):
    """The first eight bytes as a number that orders like them, zeros behind."""
    prefix = np.uint64(0)
    for i in range(8):
        prefix = prefix << np.uint64(8) | np.uint64(text[begin + i] if i < length else 0)
    return prefix


@step
def _make_token(tokens, left, right, keys_are_prefixes):
    """The symbol of left's bytes followed by right's. Returns (symbol, whether it is new, tokens)."""
    symbols, size = tokens.state[0], tokens.state[1]
    length = tokens.lengths[left] + tokens.lengths[right]
    text = _grown(tokens.text, size + length + ARENA_PADDING)
    for i in range(tokens.lengths[left]):
        text[size + i] = text[tokens.begins[left] + i]
    for i in range(tokens.lengths[right]):
        text[size + tokens.lengths[left] + i] = text[tokens.begins[right] + i]
    tokens = Tokens(text, tokens.begins, tokens.lengths, tokens.keys, tokens.table, tokens.state)
    low, high = key_of(text, size, length)
    slot = first_slot(low, high, len(tokens.table) // FIELDS)
    while not is_free(tokens.table, slot):
        if has_key(tokens.table, slot, low, high):
            begin = np.int64(tokens.table[slot + INLINE])
            if not is_long(high) or equal_bytes(text, begin, text, size, length):
                return np.int64(tokens.table[slot + PAYLOAD]), False, tokens
        slot = next_slot(tokens.table, slot)
    tokens.table[slot + KEY_LOW] = low
    tokens.table[slot + KEY_HIGH] = high
    tokens.table[slot + PAYLOAD] = np.uint64(symbols)
    tokens.table[slot + INLINE] = np.uint64(size)
    tokens.begins[symbols] = size
    tokens.lengths[symbols] = length
    tokens.keys[symbols] = _prefix(text, size, length) if keys_are_prefixes else ~np.uint64(symbols)
    tokens.state[0] = symbols + 1
    tokens.state[1] = size + length
    return symbols, True, tokens


@inline
def _comes_later(one, other, keys, text, begins, lengths):
    """Whether token `one` is greater than a different token `other` in the order of the tie rule."""
    if keys[one] != keys[other]:
        return keys[one] > keys[other]
    return _spells_later(one, other, text, begins, lengths)


@step
def _spells_later(one, other, text, begins, lengths):
    length = min(lengths[one], lengths[other])
    for i in range(length):
        byte, other_byte = text[begins[one] + i], text[begins[other] + i]
        if byte != other_byte:
            return byte > other_byte
    return lengths[one] > lengths[other]


# ---------------------------------------------------------------------------------------------------- heap


@inline
def _beats(count, pair, other_count, other_pair, lefts, rights, keys, text, begins, lengths):
    """Whether a pair with its count is to be merged before the other."""
    if count != other_count:
        return count > other_count
    left, other_left = lefts[pair], lefts[other_pair]
    if left != other_left:
        return _comes_later(left, other_left, keys, text, begins, lengths)
    right, other_right = rights[pair], rights[other_pair]
    return right != other_right and _comes_later(right, other_right, keys, text, begins, lengths)


@step
def _push(pair, tracked, tokens):
    counts, pairs, count = tracked.heap_counts, tracked.heap_pairs, tracked.counts[pair]
    lefts, rights = tracked.lefts, tracked.rights
    keys, text, begins, lengths = tokens.keys, tokens.text, tokens.begins, tokens.lengths
    child = tracked.state[HEAP]
    tracked.state[HEAP] += 1
    while child > 0:
        parent = (child - 1) >> 1
        if not _beats(count, pair, counts[parent], pairs[parent], lefts, rights, keys, text, begins, lengths):
            break
        counts[child], pairs[child] = counts[parent], pairs[parent]
        child = parent
    counts[child], pairs[child] = count, pair


@step
def _replace_top(count, pair, tracked, tokens):
    """Put (count, pair) in the place of the heap's top."""
    counts, pairs, size = tracked.heap_counts, tracked.heap_pairs, tracked.state[HEAP]
    lefts, rights = tracked.lefts, tracked.rights
    keys, text, begins, lengths = tokens.keys, tokens.text, tokens.begins, tokens.lengths
    parent = 0
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size:
            other = child + 1
            child += _beats(
                counts[other], pairs[other], counts[child], pairs[child], lefts, rights, keys, text, begins, lengths
            )
        if not _beats(counts[child], pairs[child], count, pair, lefts, rights, keys, text, begins, lengths):
            break
        counts[parent], pairs[parent] = counts[child], pairs[child]
        parent = child
    counts[parent], pairs[parent] = count, pair


@step
def _drop_top(tracked, tokens):
    tracked.state[HEAP] -= 1
    size = tracked.state[HEAP]
    if size > 0:
        _replace_top(tracked.heap_counts[size], tracked.heap_pairs[size], tracked, tokens)


@step
def _pop_best(tracked, tokens):
    """The most frequent pair of all, or _UNTRACKED if that may be one that is not tracked."""
    while tracked.state[HEAP] > 0 and tracked.heap_counts[0] > tracked.state[BOUND]:
        pair = tracked.heap_pairs[0]
        count = tracked.counts[pair]
        if count == tracked.heap_counts[0]:
            _drop_top(tracked, tokens)
            return pair
        if count > tracked.state[BOUND]:
            _replace_top(count, pair, tracked, tokens)
        else:
            _drop_top(tracked, tokens)
    return _UNTRACKED


# ---------------------------------------------------------------------------------------------------- index


@inline
def _key(left, right):
    return np.uint64(left) << np.uint64(16) | np.uint64(right)


@inline
def _place(key, capacity):
    return np.int64(multiply_fold(key, _MIXER) & np.uint64(capacity - 1))


@inline
def _find(numbers, left, right):
    """The number of a tracked pair, or _UNTRACKED."""
    key = _key(left, right)
    at = _place(key, len(numbers))
    while numbers[at] != 0:
        if numbers[at] >> _HALF == key:
            return np.int64(numbers[at] & np.uint64(0xFFFF_FFFF)) - 1
        at = (at + 1) & (len(numbers) - 1)
    return _UNTRACKED


@step
def _insert(numbers, left, right, pair):
    key = _key(left, right)
    at = _place(key, len(numbers))
    while numbers[at] != 0:
        at = (at + 1) & (len(numbers) - 1)
    numbers[at] = key << _HALF | np.uint64(pair + 1)


@step
def _with_room(tracked, pairs, occurrences):
    """The same with room for more pairs (each may enter the heap once more) and more occurrences."""
    pairs += tracked.state[PAIRS]
    numbers = tracked.numbers
    if 2 * pairs > len(numbers):
        numbers = np.zeros(4 * len(numbers), np.uint64)
        while 2 * pairs > len(numbers):
            numbers = np.zeros(4 * len(numbers), np.uint64)
        for pair in range(tracked.state[PAIRS]):
            _insert(numbers, tracked.lefts[pair], tracked.rights[pair], pair)
    heap = tracked.state[HEAP] + pairs - tracked.state[PAIRS]
    return Tracked(
        _grown(tracked.lefts, pairs),
        _grown(tracked.rights, pairs),
        _grown(tracked.counts, pairs),
        _grown(tracked.list_begins, pairs),
        _grown(tracked.list_lengths, pairs),
        _grown(tracked.occurrences, tracked.state[OCCURRENCES] + occurrences),
        numbers,
        _grown(tracked.heap_counts, heap),
        _grown(tracked.heap_pairs, heap),
        tracked.state,
    )


@inline
def _track(left, right, count, room, tracked):
    """Begin to track a pair, with room for `room` records; returns its number."""
    pair = tracked.state[PAIRS]
    tracked.lefts[pair] = left
    tracked.rights[pair] = right
    tracked.counts[pair] = count
    tracked.list_begins[pair] = tracked.state[OCCURRENCES]
    tracked.list_lengths[pair] = 0
    _insert(tracked.numbers, left, right, pair)
    tracked.state[PAIRS] += 1
    tracked.state[OCCURRENCES] += room
    return pair


@inline
def _list(record, pair, list_begins, list_lengths, occurrences):
    occurrences[list_begins[pair] + list_lengths[pair]] = record
    list_lengths[pair] += 1


# ---------------------------------------------------------------------------------------------------- scan


@step
def _count_pairs(words):
    """All pairs in all records: a hash table of keys + 1 (uint64), their counts and occurrences (int64)."""
    capacity, used = 1 << 16, 0
    keys = np.zeros(capacity, np.uint64)
    counts = np.zeros(capacity, np.int64)
    occurrences = np.zeros(capacity, np.int64)
    records = words.records
    for record in words.begins:
        count = _count(records, record)
        for i in range(record + HEADER, _end(records, record) - 1):
            key = _key(records[i], records[i + 1])
            at = _place(key, capacity)
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
    """The same hash table with four times as many places."""
    capacity = 4 * len(keys)
    new_keys = np.zeros(capacity, np.uint64)
    new_counts = np.zeros(capacity, np.int64)
    new_occurrences = np.zeros(capacity, np.int64)
    for i in range(len(keys)):
        if keys[i] != 0:
            at = _place(keys[i] - _ONE, capacity)
            while new_keys[at] != 0:
                at = (at + 1) & (capacity - 1)
            new_keys[at] = keys[i]
            new_counts[at] = counts[i]
            new_occurrences[at] = occurrences[i]
    return new_keys, new_counts, new_occurrences


@kernel
def scan(words, tokens, ratio):
    """Track every pair at least 1/ratio as frequent as the most frequent one."""
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
    state = np.array([0, 0, 0, threshold, threshold - 1])
    empty = np.empty(0, np.int64)
    tracked = Tracked(
        np.empty(0, np.uint16),
        np.empty(0, np.uint16),
        empty,
        empty,
        empty,
        np.empty(0, np.uint32),
        np.zeros(1 << 16, np.uint64),
        empty,
        empty,
        state,
    )
    tracked = _with_room(tracked, 2 * pairs, 2 * room)
    for i in range(len(keys)):
        if counts[i] >= threshold:
            key = keys[i] - _ONE
            pair = _track(key >> np.uint64(16), key & np.uint64(0xFFFF), counts[i], occurrences[i], tracked)
            _push(pair, tracked, tokens)
    lists = tracked.list_begins, tracked.list_lengths, tracked.occurrences
    _list_all(words.records, words.begins, tracked.numbers, *lists)
    return tracked


@step
def _list_all(records, begins, numbers, list_begins, list_lengths, occurrences):
    """List every record for every tracked pair in it, once."""
    for record in begins:
        for i in range(record + HEADER, _end(records, record) - 1):
            pair = _find(numbers, records[i], records[i + 1])
            if pair != _UNTRACKED:
                last = list_begins[pair] + list_lengths[pair] - 1
                if list_lengths[pair] == 0 or occurrences[last] != record:
                    _list(record, pair, list_begins, list_lengths, occurrences)


# ---------------------------------------------------------------------------------------------------- merge


@inline
def _note(sort, record, count, sums, touched_sorts, places, touched, found):
    """Add a move in a record; returns (how many sorts are touched, how many places are found)."""
    move = MOVE_FIELDS * sort
    if sums[move + LISTED] == 0:
        touched_sorts[touched] = sort
        touched += 1
    sums[move + WEIGHT] += count
    if sums[move + LAST] != record:
        sums[move + LAST] = record
        sums[move + LISTED] += 1
        places[found] = sort << 32 | record
        found += 1
    return touched, found


@inline
def _find_in_record(records, at, last, wanted):
    """Where from `at` on two symbols (the left one is the low half of `wanted`) stand side by side; else `last`."""
    while at < last and (load_u64(records, at) & np.uint64(0xFFFF_FFFF)) != wanted:
        at += 1
    return at


@inline
def _replace_in_record(record, wanted, symbol, records, sums, touched_sorts, places, touched, found):
    """Replace the pair `wanted` by `symbol` in one record, note the moves; returns the new (touched, found)."""
    begin, end = record + HEADER, _end(records, record)
    at = _find_in_record(records, begin, end - 1, wanted)
    if at >= end - 1:
        return touched, found
    count = _count(records, record)
    write = at
    if at > begin:
        before = BEFORE + np.int64(peek(records, at - 1))
        touched, found = _note(before, record, count, sums, touched_sorts, places, touched, found)
    while True:
        poke(records, write, symbol)
        write += 1
        at += 2
        if at >= end:
            break
        following = _find_in_record(records, at, end - 1, wanted)
        if following == at and at < end - 1:
            touched, found = _note(BETWEEN, record, count, sums, touched_sorts, places, touched, found)
            continue
        after = AFTER + np.int64(peek(records, at))
        touched, found = _note(after, record, count, sums, touched_sorts, places, touched, found)
        is_last = following == end - 1
        while at < following + is_last:
            poke(records, write, peek(records, at))
            write += 1
            at += 1
        if is_last:
            break
        before = BEFORE + np.int64(peek(records, write - 1))
        touched, found = _note(before, record, count, sums, touched_sorts, places, touched, found)
    _set_length(records, record, write - begin)
    return touched, found


@step
def _replace_listed(begin, end, wanted, symbol, records, occurrences, sums, touched_sorts, places, touched, found):
    """Replace a pair in the records listed from `begin` to `end`, or as far as there is room in `places`.

    Returns (where it stopped, number of sorts of moves, number of places found).
    """
    for i in range(begin, end):
        if i + 12 < end:
            ahead = np.int64(occurrences[i + 12])
            prefetch(records, ahead)
            prefetch(records, ahead + 24)
        record = np.int64(occurrences[i])
        # A record of n symbols has fewer than n moves.
        if found + _end(records, record) - record > len(places):
            return i, touched, found
        touched, found = _replace_in_record(
            record, wanted, symbol, records, sums, touched_sorts, places, touched, found
        )
    return end, touched, found


@step
def _replace(pair, symbol, words, tracked, moves):
    """Replace a pair in all its records; returns (number of sorts of moves, number of places found, moves)."""
    records, occurrences = words.records, tracked.occurrences
    wanted = np.uint64(tracked.lefts[pair]) | np.uint64(tracked.rights[pair]) << np.uint64(16)
    begin = tracked.list_begins[pair]
    end = begin + tracked.list_lengths[pair]
    touched, found = 0, 0
    while begin < end:
        begin, touched, found = _replace_listed(
            begin, end, wanted, symbol, records, occurrences, moves.sums, moves.touched, moves.places, touched, found
        )
        if begin < end:
            record = np.int64(occurrences[begin])
            moves = Moves(moves.sums, moves.touched, _grown(moves.places, found + _end(records, record) - record))
    return touched, found, moves


@inline
def _move(sort, left, right, symbol):
    """(old left, old right, new left, new right) of a sort of move."""
    if sort == BETWEEN:
        return right, left, symbol, symbol
    if sort >= AFTER:
        return right, sort - AFTER, symbol, sort - AFTER
    return sort - BEFORE, left, sort - BEFORE, symbol


@step
def _relist(pair, more, tracked):
    """Move a pair's list to the end of the occurrences, with room for more."""
    begin = tracked.list_begins[pair]
    new_begin = tracked.state[OCCURRENCES]
    for i in range(tracked.list_lengths[pair]):
        tracked.occurrences[new_begin + i] = tracked.occurrences[begin + i]
    tracked.list_begins[pair] = new_begin
    tracked.state[OCCURRENCES] += tracked.list_lengths[pair] + more


@inline
def _records_gained(left, right, sort, symbol, sums):
    """How many records a new pair may gain; those of (symbol, symbol) may come from three sorts of moves."""
    if left == symbol and right == symbol:
        before, after, between = BEFORE + symbol, AFTER + symbol, BETWEEN
        return (
            sums[MOVE_FIELDS * before + LISTED]
            + sums[MOVE_FIELDS * after + LISTED]
            + sums[MOVE_FIELDS * between + LISTED]
        )
    return sums[MOVE_FIELDS * sort + LISTED]


@step
def _gain(left, right, weight, records, is_new, tracked, tokens):
    """Let a pair occur `weight` more often, in up to `records` more; returns its number, or _UNTRACKED."""
    if is_new:
        pair = _track(left, right, weight, records, tracked)
    else:
        pair = _find(tracked.numbers, left, right)
        if pair == _UNTRACKED:
            return _UNTRACKED
        _relist(pair, records, tracked)
        tracked.counts[pair] += weight
    _push(pair, tracked, tokens)
    return pair


@step
def _room_for_gains(symbol, left, right, touched, is_new, tracked, sums, touched_sorts):
    """How many occurrences `_gain` will take for all the moves of a merge, at most."""
    room = 0
    numbers, list_lengths = tracked.numbers, tracked.list_lengths
    for i in range(touched):
        sort = touched_sorts[i]
        _, _, new_left, new_right = _move(sort, left, right, symbol)
        room += _records_gained(new_left, new_right, sort, symbol, sums)
        pair = _UNTRACKED if is_new else _find(numbers, new_left, new_right)
        if pair != _UNTRACKED:
            room += list_lengths[pair]
    return room


@step
def _lose(symbol, left, right, touched, numbers, counts, sums, touched_sorts):
    """Let the tracked pairs beside the occurrences of a merge occur less often."""
    for i in range(touched):
        sort = touched_sorts[i]
        old_left, old_right, _, _ = _move(sort, left, right, symbol)
        old = _find(numbers, old_left, old_right)
        if old != _UNTRACKED:
            counts[old] -= sums[MOVE_FIELDS * sort + WEIGHT]


@step
def _list_places(found, places, sums, list_begins, list_lengths, occurrences):
    """List every place for the pair that has gained there."""
    for i in range(found):
        gained = sums[MOVE_FIELDS * (places[i] >> 32) + LAST]
        if gained != _UNTRACKED:
            _list(places[i] & 0xFFFF_FFFF, gained, list_begins, list_lengths, occurrences)


@step
def _clear(touched, sums, touched_sorts):
    for i in range(touched):
        move = MOVE_FIELDS * touched_sorts[i]
        sums[move + WEIGHT] = 0
        sums[move + LISTED] = 0
        sums[move + LAST] = -1


@step
def _apply(pair, symbol, is_new, touched, found, tracked, tokens, moves):
    """Carry out the moves of a merge on the tracked pairs, and clear them; returns tracked."""
    left, right = np.int64(tracked.lefts[pair]), np.int64(tracked.rights[pair])
    sums, touched_sorts = moves.sums, moves.touched
    room = _room_for_gains(symbol, left, right, touched, is_new, tracked, sums, touched_sorts)
    tracked = _with_room(tracked, touched, room)
    _lose(symbol, left, right, touched, tracked.numbers, tracked.counts, sums, touched_sorts)
    largest_unseen = 0
    threshold = tracked.state[THRESHOLD]
    for i in range(touched):
        sort = touched_sorts[i]
        weight = sums[MOVE_FIELDS * sort + WEIGHT]
        gained = _UNTRACKED
        if not is_new or weight >= threshold:  # a new pair's first count is the most that it will ever have
            _, _, new_left, new_right = _move(sort, left, right, symbol)
            records = _records_gained(new_left, new_right, sort, symbol, sums)
            gained = _gain(new_left, new_right, weight, records, is_new, tracked, tokens)
        if gained == _UNTRACKED:
            largest_unseen = max(largest_unseen, weight)
        sums[MOVE_FIELDS * sort + LAST] = gained
    lists = tracked.list_begins, tracked.list_lengths, tracked.occurrences
    _list_places(found, moves.places, sums, *lists)
    _clear(touched, sums, touched_sorts)
    tracked.counts[pair] = 0
    tracked.list_lengths[pair] = 0
    if not is_new:
        # (symbol, symbol) may have gained by three sorts of moves.
        tracked.state[BOUND] += 3 * largest_unseen
    return tracked


@kernel
def merge_tracked(words, tracked, tokens, moves, size, keys_are_prefixes, lefts, rights):
    """Merge the most frequent pairs until there are `size` tokens, `lefts` is full, or a new scan is due.

    Writes the merged symbols to lefts and rights (uint16); returns (number of merges, tracked, tokens,
    moves).
    """
    merges = 0
    while tokens.state[0] < size and merges < len(lefts):
        pair = _pop_best(tracked, tokens)
        if pair == _UNTRACKED:
            break
        lefts[merges] = tracked.lefts[pair]
        rights[merges] = tracked.rights[pair]
        symbol, is_new, tokens = _make_token(tokens, lefts[merges], rights[merges], keys_are_prefixes)
        merges += 1
        touched, found, moves = _replace(pair, symbol, words, tracked, moves)
        tracked = _apply(pair, symbol, is_new, touched, found, tracked, tokens, moves)
    return merges, tracked, tokens, moves


def empty_moves() -> Moves:
    """No moves, as before every merge."""
    sums = np.zeros(SORTS_OF_MOVES * MOVE_FIELDS, np.int64)
    sums[LAST::MOVE_FIELDS] = -1
    return Moves(sums, np.empty(SORTS_OF_MOVES, np.int64), np.empty(1 << 12, np.int64))


def byte_tokens(byte_keys: np.ndarray) -> Tokens:
    """The 256 single bytes as the first tokens."""
    begins, lengths, keys = (
        np.zeros(SYMBOLS, np.int64),
        np.zeros(SYMBOLS, np.int64),
        np.zeros(SYMBOLS, np.uint64),
    )
    begins[:256] = np.arange(256)
    lengths[:256] = 1
    keys[:256] = byte_keys
    # Single bytes need not be in the table: no merge makes one.
    return Tokens(
        np.arange(256, dtype=np.uint8),
        begins,
        lengths,
        keys,
        empty_entries(2 * SYMBOLS),
        np.array([256, 256]),
    )
