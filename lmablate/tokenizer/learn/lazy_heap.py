"""The most frequent tracked pair, from a heap that is allowed to be out of date.

The heap may hold counts that are too high, but never counts that are too low: when a pair's count falls, the heap is
left alone; when it rises, the pair is pushed again. So the first item is right if its count is the pair's present one.
"""

from lmablate.tokenizer.learn.pairs import BOUND, HEAP_SIZE, UNTRACKED
from lmablate.tokenizer.learn.tokens import comes_later
from lmablate.tokenizer.native.heap import push, replace_first
from lmablate.tokenizer.native.jit import inline, step


@inline
def _order(tracked, tokens):
    """Return the arrays that `_goes_first` needs."""
    return tracked.lefts, tracked.rights, tokens.keys, tokens.text, tokens.begins, tokens.lengths


@inline
def _goes_first(count, pair, other_count, other_pair, order):
    """Return whether a pair is to be merged before the other one: the more frequent one first, then the tie rule."""
    if count != other_count:
        return count > other_count
    lefts, rights, keys, text, begins, lengths = order
    left, other_left = lefts[pair], lefts[other_pair]
    if left != other_left:
        return comes_later(left, other_left, keys, text, begins, lengths)
    right, other_right = rights[pair], rights[other_pair]
    return right != other_right and comes_later(right, other_right, keys, text, begins, lengths)


@step
def push_pair(pair, tracked, tokens):
    """Add a pair with its present count to the heap, which must have room for it."""
    size, order = tracked.state[HEAP_SIZE], _order(tracked, tokens)
    push(tracked.counts[pair], pair, tracked.heap_counts, tracked.heap_pairs, size, _goes_first, order)
    tracked.state[HEAP_SIZE] = size + 1


@step
def _replace_first_pair(count, pair, tracked, tokens):
    size, order = tracked.state[HEAP_SIZE], _order(tracked, tokens)
    replace_first(count, pair, tracked.heap_counts, tracked.heap_pairs, size, _goes_first, order)


@step
def _drop_first_pair(tracked, tokens):
    tracked.state[HEAP_SIZE] -= 1
    last = tracked.state[HEAP_SIZE]
    _replace_first_pair(tracked.heap_counts[last], tracked.heap_pairs[last], tracked, tokens)


@step
def pop_most_frequent(tracked, tokens):
    """Remove and return the most frequent pair of all, or return UNTRACKED if that may be an untracked pair."""
    while tracked.state[HEAP_SIZE] > 0 and tracked.heap_counts[0] > tracked.state[BOUND]:
        pair = tracked.heap_pairs[0]
        count = tracked.counts[pair]
        if count == tracked.heap_counts[0]:
            _drop_first_pair(tracked, tokens)
            return pair
        if count > tracked.state[BOUND]:
            _replace_first_pair(count, pair, tracked, tokens)
        else:
            _drop_first_pair(tracked, tokens)
    return UNTRACKED
