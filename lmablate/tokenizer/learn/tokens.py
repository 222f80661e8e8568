"""The tokens made so far, and their order by the tie rule.

A token is known by its *symbol*: 0 to 255 are the single bytes, then come the merged tokens in the order in which they
are made.
"""

from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.native.arrays import grown
from lmablate.tokenizer.native.jit import inline, step
from lmablate.tokenizer.native.wordtable import (
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

# Symbols are 16 bits wide.
SYMBOLS = 1 << 16

# The two numbers in Tokens.used.
TOKENS_USED, TEXT_USED = 0, 1


class Tokens(NamedTuple):
    """The tokens made so far, by symbol.

    Attributes:
        text: the tokens' bytes, one token after the other, and free space: uint8.
        begins: where a token begins in `text`: int64 [SYMBOLS].
        lengths: its length in bytes: int64 [SYMBOLS].
        keys: its key in the order of the tie rule, see `ties.TieRule`: uint64 [SYMBOLS].
        table: a word table of the merged tokens, see `wordtable`; payload: the symbol, INLINE: the place in `text`.
        used: how many tokens there are, and how many bytes of `text` they take: int64 [2], see TOKENS_USED.
    """

    text: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray
    table: np.ndarray
    used: np.ndarray


def byte_tokens(byte_keys: np.ndarray) -> Tokens:
    """Return the 256 single bytes as the first tokens.

    Args:
        byte_keys: their keys in the order of the tie rule, uint64 [256].
    """
    begins = np.zeros(SYMBOLS, np.int64)
    begins[:256] = np.arange(256)
    lengths = np.zeros(SYMBOLS, np.int64)
    lengths[:256] = 1
    keys = np.zeros(SYMBOLS, np.uint64)
    keys[:256] = byte_keys
    # Single bytes need not be in the table, since no merge makes one.
    table = empty_entries(2 * SYMBOLS)
    return Tokens(np.arange(256, dtype=np.uint8), begins, lengths, keys, table, np.array([256, 256]))


@step
def make_token(tokens, left, right, keys_are_prefixes):
    """Make the token of the bytes of symbol `left` followed by those of symbol `right`, unless it exists.

    Returns:
        (its symbol, whether it is new, tokens).
    """
    symbols, size = tokens.used[TOKENS_USED], tokens.used[TEXT_USED]
    length = tokens.lengths[left] + tokens.lengths[right]
    text = grown(tokens.text, size + length + ARENA_PADDING)
    for i in range(tokens.lengths[left]):
        text[size + i] = text[tokens.begins[left] + i]
    for i in range(tokens.lengths[right]):
        text[size + tokens.lengths[left] + i] = text[tokens.begins[right] + i]
    tokens = Tokens(text, tokens.begins, tokens.lengths, tokens.keys, tokens.table, tokens.used)
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
    tokens.used[TOKENS_USED] = symbols + 1
    tokens.used[TEXT_USED] = size + length
    return symbols, True, tokens


@inline
def _prefix(text, begin, length):
    """Return a token's first eight bytes, with zeros after a shorter one, as a number that orders like them."""
    prefix = np.uint64(0)
    for i in range(8):
        prefix = prefix << np.uint64(8) | np.uint64(text[begin + i] if i < length else 0)
    return prefix


@inline
def comes_later(one, other, keys, text, begins, lengths):
    """Return whether symbol `one` is greater than a different symbol `other` in the order of the tie rule.

    Args:
        one: a symbol.
        other: a symbol that is not `one`.
        keys: see `Tokens`.
        text: see `Tokens`.
        begins: see `Tokens`.
        lengths: see `Tokens`.
    """
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
