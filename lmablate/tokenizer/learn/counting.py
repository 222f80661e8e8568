"""Count the words of a corpus, on several threads, in memory that only its distinct words take.

A word is a pre-token. The counts are a word table, see `native.wordtable`. Each thread counts in a table of its own;
at the end the tables are added up.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from lmablate.tokenizer.native.intrinsics import peek, poke
from lmablate.tokenizer.native.jit import kernel, step
from lmablate.tokenizer.native.wordtable import (
    ARENA_PADDING,
    ARENA_USED,
    ENTRIES_USED,
    FIELDS,
    INLINE,
    KEY_HIGH,
    KEY_LOW,
    PAYLOAD,
    SHORT,
    empty_entries,
    equal_bytes,
    find_first_slots,
    first_slot,
    has_key,
    is_free,
    is_long,
    key_length,
    key_of,
    next_slot,
    rehash,
)
from lmablate.tokenizer.split.batches import next_batch
from lmablate.tokenizer.split.chunks import Chunk
from lmablate.tokenizer.split.pattern import STARTS_CAPACITY
from lmablate.tokenizer.split.text import padded
from lmablate.tokenizer.split.unicode_classes import class_table

_FIRST_CAPACITY = 1 << 14
_FIRST_ARENA = 1 << 16


class Counts(NamedTuple):
    """A word table whose payloads are counts.

    Attributes:
        entries: the table, uint64, see `native.wordtable`.
        arena: the bytes of the long words, uint8.
        used: how many entries and how many bytes of the arena are in use: int64 [2], see `wordtable.ENTRIES_USED`.
    """

    entries: np.ndarray
    arena: np.ndarray
    used: np.ndarray


def count_words(
    chunks: Iterable[Chunk], specials: Iterable[bytes], threads: int, on_bytes: Callable[[int], None]
) -> "WordCounter":
    """Count the words of all chunks; special tokens are not counted.

    Args:
        chunks: the text.
        specials: the special tokens in UTF-8.
        threads: number of threads.
        on_bytes: is called with the number of bytes of each chunk that has been counted.
    """
    counters = [WordCounter() for _ in range(threads)]
    for counted, chunk in _on_threads(chunks, counters):
        counted.result()
        on_bytes(chunk.size)
    total, *others = counters
    while others:
        total.add_all(others.pop())
    for special in specials:
        total.forget(special)
    return total


def _on_threads(chunks: Iterable[Chunk], counters: list["WordCounter"]) -> Iterator[tuple[Future, Chunk]]:
    """Give each chunk to the thread whose turn it is; at most two chunks wait for each thread."""
    pools = [ThreadPoolExecutor(1) for _ in counters]
    waiting: list[tuple[Future, Chunk]] = []
    try:
        for i, chunk in enumerate(chunks):
            turn = i % len(counters)
            waiting.append((pools[turn].submit(counters[turn].add, chunk), chunk))
            if len(waiting) > 2 * len(counters):
                yield waiting.pop(0)
        yield from waiting
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


class WordCounter:
    """Counts of words in tables that grow as needed; for one thread.

    Attributes:
        counts: the counts so far.
    """

    def __init__(self):
        used = np.array([0, ARENA_PADDING], np.int64)
        self.counts = Counts(empty_entries(_FIRST_CAPACITY), np.empty(_FIRST_ARENA, np.uint8), used)

    def add(self, chunk: Chunk) -> None:
        """Count the words of a chunk, with its special tokens as words."""
        at, next_special = 0, 0
        while True:
            at, next_special = _count_text(
                chunk.text, at, chunk.size, chunk.specials, next_special, class_table(), self.counts
            )
            if at >= chunk.size:
                return
            self._grow(chunk.size - at)

    def add_all(self, other: "WordCounter") -> None:
        """Add the counts of another counter."""
        longest = _longest(other.counts)
        word = np.empty(longest + ARENA_PADDING, np.uint8)
        slot = 0
        while (slot := _add_all(other.counts, slot, word, self.counts)) < len(other.counts.entries):
            self._grow(longest)

    def forget(self, word: bytes) -> None:
        """Set the count of a word to zero."""
        _forget(padded(word), len(word), self.counts)

    def _grow(self, longest_word: int) -> None:
        """Make room for at least one more word of up to `longest_word` bytes."""
        entries, arena, used = self.counts
        if 8 * used[ENTRIES_USED] >= 5 * (len(entries) // FIELDS):  # as in `_has_room`
            larger = empty_entries(2 * len(entries) // FIELDS)
            rehash(entries, larger)
            entries = larger
        if used[ARENA_USED] + longest_word + ARENA_PADDING > len(arena):
            larger = np.empty(2 * len(arena) + longest_word, np.uint8)
            larger[: len(arena)] = arena
            arena = larger
        self.counts = Counts(entries, arena, used)


@kernel
def _count_text(text, at, size, specials, next_special, classes, counts):
    """Count the words of text[at:size] until the table is full.

    Args:
        text: uint8, padded (see `text.PADDING`).
        at: where to begin.
        size: where the text ends.
        specials: where special tokens begin and end, int64 [n, 2].
        next_special: the number of special tokens that end at or before `at`.
        classes: see `unicode_classes.class_table`.
        counts: the counts to add to.

    Returns:
        (where to continue, next_special there).
    """
    entries = counts.entries
    starts = np.empty(STARTS_CAPACITY, np.int64)
    lows = np.empty(STARTS_CAPACITY, np.uint64)
    highs = np.empty(STARTS_CAPACITY, np.uint64)
    slots = np.empty(STARTS_CAPACITY, np.int64)
    once = np.uint64(1)
    while at < size:
        count, at, next_special = next_batch(text, at, size, specials, next_special, classes, starts)
        find_first_slots(text, starts, count, entries, lows, highs, slots)
        for i in range(count):
            low, high, slot = peek(lows, i), peek(highs, i), peek(slots, i)
            if has_key(entries, slot, low, high) and not is_long(high):
                poke(entries, slot + PAYLOAD, peek(entries, slot + PAYLOAD) + once)
            elif not _add(text, starts[i], starts[i + 1] - starts[i], low, high, slot, once, counts):
                while next_special > 0 and specials[next_special - 1, 0] >= starts[i]:
                    next_special -= 1
                return starts[i], next_special
    return at, next_special


@step
def _add(text, start, length, low, high, slot, times, counts):
    """Count a word `times` more.

    Args:
        text: uint8.
        start: where the word begins in `text`.
        length: its length in bytes.
        low: its key, see `native.wordtable`.
        high: likewise.
        slot: where the search for it begins.
        times: uint64.
        counts: the counts to add to.

    Returns:
        False, with nothing changed, if there is no room.
    """
    entries = counts.entries
    while not is_free(entries, slot):
        if has_key(entries, slot, low, high):
            offset = np.int64(entries[slot + INLINE])
            if not is_long(high) or equal_bytes(counts.arena, offset, text, start, length):
                entries[slot + PAYLOAD] += times
                return True
        slot = next_slot(entries, slot)
    if not _has_room(counts, length):
        return False
    entries[slot + KEY_LOW] = low
    entries[slot + KEY_HIGH] = high
    entries[slot + PAYLOAD] = times
    counts.used[ENTRIES_USED] += 1
    if is_long(high):
        offset = counts.used[ARENA_USED]
        for i in range(length):
            counts.arena[offset + i] = text[start + i]
        entries[slot + INLINE] = np.uint64(offset)
        counts.used[ARENA_USED] = offset + length
    return True


@step
def _has_room(counts, length):
    """Return whether another word of `length` bytes neither crowds the table nor overruns the arena."""
    crowded = 8 * counts.used[ENTRIES_USED] >= 5 * (len(counts.entries) // FIELDS)
    return not crowded and (length < SHORT or counts.used[ARENA_USED] + length + ARENA_PADDING <= len(counts.arena))


@kernel
def _longest(counts):
    """Return the length in bytes of the longest word."""
    longest = 0
    for slot in range(0, len(counts.entries), FIELDS):
        if not is_free(counts.entries, slot):
            longest = max(longest, key_length(counts.entries[slot + KEY_HIGH]))
    return longest


@kernel
def _add_all(other, slot, word, counts):
    """Add the entries of `other` from `slot` on until the table of `counts` is full; return where to continue.

    Args:
        other: the counts to add.
        slot: where to begin in `other`.
        word: scratch space for the longest word of `other`, uint8.
        counts: the counts to add to.
    """
    while slot < len(other.entries):
        if not is_free(other.entries, slot):
            length = word_at(other, slot, word)
            low, high = other.entries[slot + KEY_LOW], other.entries[slot + KEY_HIGH]
            own_slot = first_slot(low, high, len(counts.entries) // FIELDS)
            if not _add(word, 0, length, low, high, own_slot, other.entries[slot + PAYLOAD], counts):
                break
        slot += FIELDS
    return slot


@step
def word_at(counts, slot, word):
    """Write the word of an entry to the array `word`, which must be long enough; return the word's length in bytes."""
    high = counts.entries[slot + KEY_HIGH]
    length = key_length(high)
    if is_long(high):
        offset = np.int64(counts.entries[slot + INLINE])
        for i in range(length):
            word[i] = counts.arena[offset + i]
        return length
    for i in range(length):
        half = counts.entries[slot + (KEY_LOW if i < 8 else KEY_HIGH)]
        word[i] = (half >> np.uint64(8 * (i % 8))) & np.uint64(0xFF)
    return length


@kernel
def _forget(word, length, counts):
    """Set the count of a word to zero, if it has been counted."""
    low, high = key_of(word, 0, length)
    slot = first_slot(low, high, len(counts.entries) // FIELDS)
    while not is_free(counts.entries, slot):
        offset = np.int64(counts.entries[slot + INLINE])
        if has_key(counts.entries, slot, low, high) and (
            not is_long(high) or equal_bytes(counts.arena, offset, word, 0, length)
        ):
            counts.entries[slot + PAYLOAD] = np.uint64(0)
        slot = next_slot(counts.entries, slot)
