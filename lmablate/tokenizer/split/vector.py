"""GPT-2's pattern, 64 bytes at a time: comparisons give masks, and shifts combine them.

A block is 64 bytes that begin where a pre-token begins. `classify_block` makes masks of it; bit i of a mask describes
byte i. A mask shifted to the left by one shows at each byte what the byte *before* it is; shifted to the right, what
comes *after*. Below, bit 0 is written first, so that masks read like the text: a shift to the left, <<, moves the marks
to the right on the page.

    bytes             I t ' s _ _ 2 0      (_ is a space)
    letters           1 1 . 1 . . . .
    numbers           . . . . . . 1 1
    whitespace        . . . . 1 1 . .
    others            . . 1 . . . . .

A letter begins a pre-token if the byte before it is not a letter, and not a space either, since a space belongs to the
word after it:

    letters << 1      . 1 1 . 1 . . .
    blanks << 1       . . . . . 1 1 .
    letter starts     1 . . 1 . . . .      letters & ~(letters << 1) & ~(blanks << 1)

The same holds for numbers (the space before 2 belongs to it, so there are no number starts here) and for others (one
start, at '). Whitespace begins a pre-token where a run begins, and again at the run's last character if something
follows, whether or not that character belongs to what follows:

    whitespace << 1   . . . . . 1 1 .
    whitespace >> 1   . . . 1 1 . . .
    space starts      . . . . 1 1 . .      whitespace & ~(whitespace << 1 & whitespace >> 1)

Together they are 1 . 1 1 1 1 . . , and then comes the one thing that shifts cannot express: an apostrophe that begins a
pre-token and is followed by s, t, ll, ... is one token with them. Its letter loses its bit, and the byte after the
contraction gets one: 1 . 1 . 1 1 . . , which is It|'s|_|_20.

Nothing is carried from block to block. The last bits of a block are not trusted, since the bytes that follow might
change them. The next block begins at the last start that can be trusted, and **the pattern never looks back**.

This file, with `intrinsics.classify_block`, serves speed alone: `pattern.split_scalar` gives the same result.
"""

import numpy as np

from lmablate.tokenizer.native.intrinsics import classify_block, leading_zeros, poke, set_bits, trailing_zeros
from lmablate.tokenizer.native.jit import inline, step
from lmablate.tokenizer.split.pattern import BATCH, contraction_length, token_end, wide_character
from lmablate.tokenizer.split.unicode_classes import LETTER, NUMBER, WHITESPACE

BLOCK = 64
# Number of bits of a block that are trusted: a start depends on at most three bytes after it (a contraction such as
# 'll).
_TRUSTED = 61
# The result of `_block_starts` if it found no start.
_UNDECIDED = np.uint64(0)

_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
# Not bit 0, which is known: the block begins there.
_TRUSTED_BITS = np.uint64((1 << _TRUSTED) - 2)
# A contraction that begins here ends inside the block.
_CONTRACTION_BITS = np.uint64((1 << _TRUSTED) - 1)


@inline
def _bit(i):
    return _ONE << np.uint64(i)


@inline
def _all_from(i):
    """Return the bits from i on; none if i is 64 or more."""
    return _ALL << np.uint64(i) if i < BLOCK else np.uint64(0)


@inline
def _run_starts(members):
    return members & ~(members << _ONE)


@step
def _add_wide_characters(text, begin, end, non_ascii, letters, numbers, classes):
    """Add the characters beyond ASCII to the masks, and return (letters, numbers, whether one is whitespace).

    All bytes of a character get its class, so that no start is seen inside it.
    """
    while non_ascii != 0:
        i = trailing_zeros(non_ascii)
        kind, length = wide_character(text, begin + i, end, classes)
        if kind == WHITESPACE:
            return letters, numbers, True
        bytes_of_character = (_bit(length) - _ONE) << np.uint64(i)
        if kind == LETTER:
            letters |= bytes_of_character
        elif kind == NUMBER:
            numbers |= bytes_of_character
        non_ascii &= ~bytes_of_character
    return letters, numbers, False


@step
def _join_contractions(text, begin, end, apostrophes, starts):
    """Return the starts, changed so that each contraction that begins at a start is one pre-token."""
    while apostrophes != 0:
        i = trailing_zeros(apostrophes)
        apostrophes &= apostrophes - _ONE
        length = contraction_length(text, begin + i, end)
        if length > 0:
            starts = starts & ~_bit(i + 1) | _bit(i + length)
    return starts


@inline
def _block_starts(text, begin, end, classes):
    """Return the certain starts in the block at `begin`, itself a start: bit i for begin + i, without bit 0.

    The end of the text counts as a start. The result is _UNDECIDED if there is no start, or if the block has whitespace
    beyond ASCII, for which "the next character" is not the next byte.
    """
    letters, numbers, whitespace, blanks, apostrophes, non_ascii = classify_block(text, begin)
    # Bytes beyond the end count as whitespace, so that a run of whitespace at the end keeps its last character.
    beyond = _all_from(end - begin)
    non_ascii &= ~beyond
    letters &= ~beyond
    numbers &= ~beyond
    whitespace |= beyond
    if non_ascii != 0:
        letters, numbers, undecided = _add_wide_characters(text, begin, end, non_ascii, letters, numbers, classes)
        if undecided:
            return _UNDECIDED
    others = ~(letters | numbers | whitespace)
    word_starts = _run_starts(letters) | _run_starts(numbers) | _run_starts(others)
    space_starts = whitespace & ~(whitespace << _ONE & whitespace >> _ONE)
    starts = (word_starts & ~(blanks << _ONE)) | space_starts | _ONE
    apostrophes &= starts & _CONTRACTION_BITS
    if apostrophes != 0:
        starts = _join_contractions(text, begin, end, apostrophes, starts)
    # All bits beyond the end go; the end itself, the lowest bit of `beyond`, stays.
    starts = (starts | beyond) & ~(beyond << _ONE)
    return starts & _TRUSTED_BITS


@step
def split_vector(text, begin, end, classes, starts, count):
    """Do the same as `pattern.split_scalar`; `starts` must have room for one block more than a batch."""
    while begin < end and count < BATCH:
        found = _block_starts(text, begin, end, classes)
        poke(starts, count, begin)
        count += 1
        if found == _UNDECIDED:
            begin = token_end(text, begin, end, classes)
            continue
        last = 63 - leading_zeros(found)
        found ^= _bit(last)
        # Four at a time, though the last few may be too many: that is cheaper than a mispredicted end of the loop.
        next_count = count + set_bits(found)
        while count < next_count:
            for i in range(4):
                poke(starts, count + i, begin + trailing_zeros(found))
                found &= found - _ONE
            count += 4
        count = next_count
        begin += last
    return count, begin
