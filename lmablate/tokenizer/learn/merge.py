"""The loop of learning: take the most frequent pair, replace it in the records, and update the pairs beside it."""

from collections.abc import Callable

import numpy as np

from lmablate.tokenizer.learn.lazy_heap import pop_most_frequent, push_pair
from lmablate.tokenizer.learn.moves import (
    AFTER,
    BEFORE,
    BETWEEN,
    GAINED,
    LISTED,
    MOVE_FIELDS,
    WEIGHT,
    clear_moves,
    no_moves,
    pairs_of_move,
    replace_pair,
)
from lmablate.tokenizer.learn.pairs import (
    BOUND,
    PAIRS_USED,
    THRESHOLD,
    UNTRACKED,
    list_record,
    relist,
    track,
    with_room,
)
from lmablate.tokenizer.learn.scan import THRESHOLD_RATIO, scan
from lmablate.tokenizer.learn.ties import Pair, TieRule
from lmablate.tokenizer.learn.tokens import TOKENS_USED, byte_tokens, make_token
from lmablate.tokenizer.learn.words import Words
from lmablate.tokenizer.native.jit import inline, kernel, step
from lmablate.tokenizer.native.pairtable import find_pair

# Merges between two reports of progress.
_ROUND = 256


def learn_merges(
    words: Words, size: int, tie: TieRule, on_merges: Callable[[int], None]
) -> tuple[list[bytes], list[Pair]]:
    """Merge pairs until there are `size` tokens, or no pair is left.

    Args:
        words: the counted words, whose records are changed.
        size: number of tokens, the 256 bytes among them.
        tie: which of equally frequent pairs is merged.
        on_merges: is called with the number of merges since the last call.

    Returns:
        (the tokens, bytes first, then the merged ones in the order they were made; the merges). Two merges may make the
        same token, which is then listed once.
    """
    tokens, moves = byte_tokens(tie.byte_keys()), no_moves()
    lefts, rights = np.empty(_ROUND, np.uint16), np.empty(_ROUND, np.uint16)
    pairs: list[tuple[int, int]] = []
    while tokens.used[TOKENS_USED] < size:
        tracked = scan(words, tokens, THRESHOLD_RATIO)
        if tracked.state[PAIRS_USED] == 0:
            break
        while True:
            count, tracked, tokens, moves = _merge_tracked(
                words, tracked, tokens, moves, size, tie.keys_are_prefixes, lefts, rights
            )
            pairs += zip(lefts[:count].tolist(), rights[:count].tolist(), strict=True)
            on_merges(count)
            if count < _ROUND:
                break
    text = tokens.text.tobytes()
    ends = tokens.begins + tokens.lengths
    spelled = [text[tokens.begins[i] : ends[i]] for i in range(tokens.used[TOKENS_USED])]
    return spelled, [(spelled[left], spelled[right]) for left, right in pairs]


@kernel
def _merge_tracked(words, tracked, tokens, moves, size, keys_are_prefixes, lefts, rights):
    """Merge the most frequent pairs until there are `size` tokens, `lefts` is full, or a new scan is due.

    Args:
        words: see `words.Words`.
        tracked: see `pairs.Tracked`.
        tokens: see `tokens.Tokens`.
        moves: see `moves.Moves`.
        size: number of tokens.
        keys_are_prefixes: see `ties.TieRule`.
        lefts: receives the left symbol of each merged pair, uint16.
        rights: receives its right symbol, uint16.

    Returns:
        (number of merges, tracked, tokens, moves). The arguments of these names must not be used again.
    """
    merges = 0
    while tokens.used[TOKENS_USED] < size and merges < len(lefts):
        pair = pop_most_frequent(tracked, tokens)
        if pair == UNTRACKED:
            break
        lefts[merges] = tracked.lefts[pair]
        rights[merges] = tracked.rights[pair]
        symbol, is_new, tokens = make_token(tokens, lefts[merges], rights[merges], keys_are_prefixes)
        merges += 1
        sort_count, place_count, moves = replace_pair(pair, symbol, words, tracked, moves)
        tracked = _update_pairs(pair, symbol, is_new, sort_count, place_count, tracked, tokens, moves)
    return merges, tracked, tokens, moves


@step
def _update_pairs(pair, symbol, is_new, sort_count, place_count, tracked, tokens, moves):
    """Carry out the moves of a merge on the tracked pairs, and clear the moves.

    Args:
        pair: the number of the merged pair.
        symbol: the symbol that took its place.
        is_new: whether the merge made this token.
        sort_count: number of sorts of moves.
        place_count: number of places where they happened.
        tracked: see `pairs.Tracked`.
        tokens: see `tokens.Tokens`.
        moves: see `moves.Moves`.

    Returns:
        The new `tracked`.
    """
    left, right = np.int64(tracked.lefts[pair]), np.int64(tracked.rights[pair])
    sums, sorts = moves.sums, moves.sorts
    room = _room_for_gains(symbol, left, right, sort_count, is_new, tracked, sums, sorts)
    tracked = with_room(tracked, sort_count, room)
    _lose(symbol, left, right, sort_count, tracked.numbers, tracked.counts, sums, sorts)
    largest_untracked = 0
    threshold = tracked.state[THRESHOLD]
    for i in range(sort_count):
        sort = sorts[i]
        weight = sums[MOVE_FIELDS * sort + WEIGHT]
        gained = UNTRACKED
        # The first count of a pair with a new token is the most that the pair will ever have.
        if not is_new or weight >= threshold:
            _, _, new_left, new_right = pairs_of_move(sort, left, right, symbol)
            records = _records_gained(new_left, new_right, sort, symbol, sums)
            gained = _gain(new_left, new_right, weight, records, is_new, tracked, tokens)
        if gained == UNTRACKED:
            largest_untracked = max(largest_untracked, weight)
        sums[MOVE_FIELDS * sort + GAINED] = gained
    lists = tracked.list_begins, tracked.list_lengths, tracked.occurrences
    _list_places(place_count, moves.places, sums, *lists)
    clear_moves(sort_count, sums, sorts)
    tracked.counts[pair] = 0
    tracked.list_lengths[pair] = 0
    if not is_new:
        # (symbol, symbol) may have gained by three sorts of moves.
        tracked.state[BOUND] += 3 * largest_untracked
    return tracked


@step
def _room_for_gains(symbol, left, right, sort_count, is_new, tracked, sums, sorts):
    """Return how many occurrences `_gain` will take for all the moves of a merge, at most."""
    room = 0
    numbers, list_lengths = tracked.numbers, tracked.list_lengths
    for i in range(sort_count):
        sort = sorts[i]
        _, _, new_left, new_right = pairs_of_move(sort, left, right, symbol)
        room += _records_gained(new_left, new_right, sort, symbol, sums)
        pair = UNTRACKED if is_new else find_pair(numbers, new_left, new_right, UNTRACKED)
        if pair != UNTRACKED:
            room += list_lengths[pair]
    return room


@inline
def _records_gained(left, right, sort, symbol, sums):
    """Return how many records the pair gained by a move may gain; (symbol, symbol) gains by three sorts of moves."""
    if left == symbol and right == symbol:
        before, after, between = BEFORE + symbol, AFTER + symbol, BETWEEN
        return (
            sums[MOVE_FIELDS * before + LISTED]
            + sums[MOVE_FIELDS * after + LISTED]
            + sums[MOVE_FIELDS * between + LISTED]
        )
    return sums[MOVE_FIELDS * sort + LISTED]


@step
def _lose(symbol, left, right, sort_count, numbers, counts, sums, sorts):
    """Let the tracked pairs beside the occurrences of the merged pair occur less often."""
    for i in range(sort_count):
        sort = sorts[i]
        old_left, old_right, _, _ = pairs_of_move(sort, left, right, symbol)
        old = find_pair(numbers, old_left, old_right, UNTRACKED)
        if old != UNTRACKED:
            counts[old] -= sums[MOVE_FIELDS * sort + WEIGHT]


@step
def _gain(left, right, weight, records, is_new, tracked, tokens):
    """Let a pair of symbols occur `weight` more often, in up to `records` more; return its number, or UNTRACKED."""
    if is_new:
        pair = track(left, right, weight, records, tracked)
    else:
        pair = find_pair(tracked.numbers, left, right, UNTRACKED)
        if pair == UNTRACKED:
            return UNTRACKED
        relist(pair, records, tracked)
        tracked.counts[pair] += weight
    push_pair(pair, tracked, tokens)
    return pair


@step
def _list_places(place_count, places, sums, list_begins, list_lengths, occurrences):
    """List the record of every place for the pair that has gained there."""
    for i in range(place_count):
        gained = sums[MOVE_FIELDS * (places[i] >> 32) + GAINED]
        if gained != UNTRACKED:
            list_record(places[i] & 0xFFFF_FFFF, gained, list_begins, list_lengths, occurrences)
