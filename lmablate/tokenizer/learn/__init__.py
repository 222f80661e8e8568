"""Learn the merges of a file: exact, with local updates, for millions of distinct words.

counting   count the words (pre-tokens) of the file
words      the counted words as packed records
ties       which of several equally frequent pairs is merged first
tokens     the tokens made so far
pairs      the tracked pairs, and the records in which each occurs
lazy_heap  the most frequent tracked pair
scan       find the pairs that are worth tracking
moves      replace a pair in its records, and note what that does to the pairs beside it
merge      the loop: take the most frequent pair, replace it, update the pairs

**Words** are packed records, one after the other. A merge shortens a record in place, so all that a merge needs of a
word lies in one or two cache lines.

**Pairs.** Replacing (a, b) by t turns each pair beside an occurrence into another: x a b y loses (x, a) and (b, y), and
gains (x, t) and (t, y). We call such a change a *move*. A merge visits only the records that are listed for its pair,
adds up the moves, and then updates each pair once.

**Only frequent pairs are tracked**: those that occur at least `threshold` times when they first appear. For all others
we know just a bound: *no untracked pair occurs more often than `bound`*. While the most frequent tracked pair is above
the bound, it is the most frequent pair of all. When it is not, the records are scanned again with a lower threshold.

**Lazy heap.** The heap may hold counts that are too high, but never counts that are too low: when a pair's count falls,
the heap is left alone; when it rises, the pair is pushed again. So the first item of the heap is right if its count is
the pair's present count; otherwise it is put back with the present count.

A merge may make a token that exists already ("a" + "aa" after "aa" + "a"). It then adds to pairs that exist, tracked or
not. This is the only way in which a count can rise after the pair first appeared. If the pair is untracked, the bound
rises with it.

**Plain arrays in inner loops.** numba counts references, atomically, whenever an array is taken out of a named tuple.
So a function that loops gets the arrays themselves as arguments, which makes some lists of arguments long.
"""
