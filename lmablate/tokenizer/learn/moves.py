"""Replace a pair in the records, and note what that does to the pairs beside it.

Replacing (a, b) by t turns each pair beside an occurrence into another: x a b y loses (x, a) and (b, y), and gains
(x, t) and (t, y). Such a change is a *move*. There is one sort of move for each left neighbour x, one for each right
neighbour y, and one for two occurrences side by side: in a b a b, the pair (b, a) becomes (t, t).

    sort         number       the pair that is lost    the pair that is gained
    left of it   BEFORE + x   (x, a)                   (x, t)
    right of it  AFTER + y    (b, y)                   (t, y)
    between two  BETWEEN      (b, a)                   (t, t)

A neighbour may be t itself if t is older than this merge. Then BEFORE + t and AFTER + t gain (t, t), too.
"""

from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.learn.tokens import SYMBOLS
from lmablate.tokenizer.learn.words import HEADER, count_of, end_of, set_length
from lmablate.tokenizer.native.arrays import grown
from lmablate.tokenizer.native.intrinsics import load_u64, peek, poke, prefetch
from lmablate.tokenizer.native.jit import inline, step

# The numbers of the sorts.
BEFORE, AFTER, BETWEEN = 0, SYMBOLS, 2 * SYMBOLS
_SORTS = 2 * SYMBOLS + 1

# The fields of Moves.sums, for each sort: how often it happened in the corpus, in how many records, the last of these,
# and the number of the pair that gained by it (set by `merge`, when it carries out the moves on the pairs).
WEIGHT, LISTED, LAST_RECORD, GAINED, MOVE_FIELDS = 0, 1, 2, 3, 4
_NO_RECORD = -1

# How many records ahead, and how many symbols apart, cache lines are asked for.
_PREFETCH_RECORDS = 12
_PREFETCH_SYMBOLS = 24


class Moves(NamedTuple):
    """The effect of one merge on the pairs. The arrays are used again for each merge.

    Attributes:
        sums: int64 [_SORTS * MOVE_FIELDS], see WEIGHT and the names beside it; zeros between merges, and _NO_RECORD as
            the last record.
        sorts: the sorts that happened, int64; how many there are is not stored here.
        places: sort << 32 | record for each record in which a sort happened, in order of discovery: int64; likewise.
    """

    sums: np.ndarray
    sorts: np.ndarray
    places: np.ndarray


def no_moves() -> Moves:
    """Return the moves as they are before every merge."""
    sums = np.zeros(_SORTS * MOVE_FIELDS, np.int64)
    sums[LAST_RECORD::MOVE_FIELDS] = _NO_RECORD
    return Moves(sums, np.empty(_SORTS, np.int64), np.empty(1 << 12, np.int64))


@inline
def pairs_of_move(sort, left, right, symbol):
    """Return (left and right of the lost pair, left and right of the gained pair) of a sort of move.

    Args:
        sort: the sort's number.
        left: the left symbol of the pair that is replaced.
        right: its right symbol.
        symbol: the symbol that takes their place.
    """
    if sort == BETWEEN:
        return right, left, symbol, symbol
    if sort >= AFTER:
        return right, sort - AFTER, symbol, sort - AFTER
    return sort - BEFORE, left, sort - BEFORE, symbol


@step
def clear_moves(sort_count, sums, sorts):
    """Make the sums of a merge's `sort_count` sorts what they were before it."""
    for i in range(sort_count):
        move = MOVE_FIELDS * sorts[i]
        sums[move + WEIGHT] = 0
        sums[move + LISTED] = 0
        sums[move + LAST_RECORD] = _NO_RECORD


@step
def replace_pair(pair, symbol, words, tracked, moves):
    """Replace a tracked pair by a symbol in all its records.

    Returns:
        (number of sorts of moves, number of places found, moves).
    """
    records, occurrences = words.records, tracked.occurrences
    wanted = np.uint64(tracked.lefts[pair]) | np.uint64(tracked.rights[pair]) << np.uint64(16)
    begin = tracked.list_begins[pair]
    end = begin + tracked.list_lengths[pair]
    sort_count, place_count = 0, 0
    while begin < end:
        begin, sort_count, place_count = _replace_in_listed(
            begin,
            end,
            wanted,
            symbol,
            records,
            occurrences,
            moves.sums,
            moves.sorts,
            moves.places,
            sort_count,
            place_count,
        )
        if begin < end:
            record = np.int64(occurrences[begin])
            places = grown(moves.places, place_count + end_of(records, record) - record)
            moves = Moves(moves.sums, moves.sorts, places)
    return sort_count, place_count, moves


@step
def _replace_in_listed(begin, end, wanted, symbol, records, occurrences, sums, sorts, places, sort_count, place_count):
    """Replace a pair in the records occurrences[begin:end], as far as there is room in `places`.

    Args:
        begin: the first index in `occurrences`.
        end: the index after the last one.
        wanted: the pair, left | right << 16, uint64.
        symbol: the symbol that takes its place.
        records: see `words`.
        occurrences: see `pairs.Tracked`.
        sums: see `Moves`.
        sorts: see `Moves`.
        places: see `Moves`.
        sort_count: how many of `sorts` are in use.
        place_count: how many of `places` are in use.

    Returns:
        (the index in `occurrences` where it stopped, sort_count, place_count).
    """
    for i in range(begin, end):
        if i + _PREFETCH_RECORDS < end:
            ahead = np.int64(occurrences[i + _PREFETCH_RECORDS])
            prefetch(records, ahead)
            prefetch(records, ahead + _PREFETCH_SYMBOLS)
        record = np.int64(occurrences[i])
        # A record of n symbols has fewer than n moves.
        if place_count + end_of(records, record) - record > len(places):
            return i, sort_count, place_count
        sort_count, place_count = _replace_in_record(
            record, wanted, symbol, records, sums, sorts, places, sort_count, place_count
        )
    return end, sort_count, place_count


@inline
def _replace_in_record(record, wanted, symbol, records, sums, sorts, places, sort_count, place_count):
    """Replace a pair in one record, note the moves, and return the new (sort_count, place_count).

    `at` is where the record is read, `write` where it is written; the record becomes shorter by one symbol for each
    occurrence of the pair. The arguments are those of `_replace_in_listed`.
    """
    begin, end = record + HEADER, end_of(records, record)
    at = _find_in_record(records, begin, end - 1, wanted)
    if at >= end - 1:
        return sort_count, place_count
    count = count_of(records, record)
    write = at
    if at > begin:
        before = BEFORE + np.int64(peek(records, at - 1))
        sort_count, place_count = _note(before, record, count, sums, sorts, places, sort_count, place_count)
    while True:
        poke(records, write, symbol)
        write += 1
        at += 2
        if at >= end:
            break
        following = _find_in_record(records, at, end - 1, wanted)
        if following == at and at < end - 1:
            sort_count, place_count = _note(BETWEEN, record, count, sums, sorts, places, sort_count, place_count)
            continue
        after = AFTER + np.int64(peek(records, at))
        sort_count, place_count = _note(after, record, count, sums, sorts, places, sort_count, place_count)
        is_last = following == end - 1
        while at < following + is_last:
            poke(records, write, peek(records, at))
            write += 1
            at += 1
        if is_last:
            break
        before = BEFORE + np.int64(peek(records, write - 1))
        sort_count, place_count = _note(before, record, count, sums, sorts, places, sort_count, place_count)
    set_length(records, record, write - begin)
    return sort_count, place_count


@inline
def _find_in_record(records, at, last, wanted):
    """Return the first index from `at` on where the pair `wanted` stands; `last` if it does not occur before that."""
    while at < last and (load_u64(records, at) & np.uint64(0xFFFF_FFFF)) != wanted:
        at += 1
    return at


@inline
def _note(sort, record, count, sums, sorts, places, sort_count, place_count):
    """Add a move in a record whose word occurs `count` times, and return the new (sort_count, place_count)."""
    move = MOVE_FIELDS * sort
    if sums[move + LISTED] == 0:
        sorts[sort_count] = sort
        sort_count += 1
    sums[move + WEIGHT] += count
    if sums[move + LAST_RECORD] != record:
        sums[move + LAST_RECORD] = record
        sums[move + LISTED] += 1
        places[place_count] = sort << 32 | record
        place_count += 1
    return sort_count, place_count
