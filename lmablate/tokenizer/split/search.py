"""The search for special tokens in a text, 64 bytes at a time."""

import numpy as np

from lmablate.tokenizer.native.arrays import grown
from lmablate.tokenizer.native.intrinsics import equal_block, trailing_zeros
from lmablate.tokenizer.native.jit import inline, kernel, step


@kernel
def find_specials(text, search_end, end, special_bytes, bounds, first_bytes):
    """Find special tokens, see `specials.SpecialTokens.find`.

    Args:
        text: uint8, padded.
        search_end: where the search ends.
        end: where the text ends.
        special_bytes: the special tokens one after the other, the longest first: uint8.
        bounds: special token i is special_bytes[bounds[i]:bounds[i + 1]]: int64.
        first_bytes: the different bytes that special tokens begin with: uint8.

    Returns:
        int64 [n, 2].
    """
    found = np.empty(128, np.int64)
    used = 0
    at = _next_candidate(text, 0, search_end, first_bytes)
    while at < search_end:
        length = _matching_special(text, at, end, special_bytes, bounds)
        if length > 0:
            found = grown(found, used + 2)
            found[used] = at
            found[used + 1] = at + length
            used += 2
        at = _next_candidate(text, at + max(length, 1), search_end, first_bytes)
    return found[:used].reshape(used // 2, 2)


@inline
def _next_candidate(text, at, end, first_bytes):
    """Return the next index at which a special token's first byte stands; if there is none, `end` or a little more."""
    while at < end:
        candidates = np.uint64(0)
        for byte in first_bytes:
            candidates |= equal_block(text, at, byte)
        if candidates != 0:
            return at + trailing_zeros(candidates)
        at += 64
    return at


@step
def _matching_special(text, at, last, special_bytes, bounds):
    """Return the length of the longest special token that begins at `at` and ends by `last`; 0 if there is none."""
    for i in range(len(bounds) - 1):
        length = bounds[i + 1] - bounds[i]
        if at + length <= last:
            matched = 0
            while matched < length and text[at + matched] == special_bytes[bounds[i] + matched]:
                matched += 1
            if matched == length:
                return length
    return 0
