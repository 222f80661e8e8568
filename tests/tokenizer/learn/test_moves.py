"""Replacing a pair in the records notes the moves; the example is that of docs/tokenizer.md."""

import numba
import numpy as np
import pytest

from lmablate.tokenizer.learn.counting import count_words
from lmablate.tokenizer.learn.merge import learn_merges
from lmablate.tokenizer.learn.moves import (
    AFTER,
    BEFORE,
    BETWEEN,
    LISTED,
    MOVE_FIELDS,
    WEIGHT,
    Moves,
    no_moves,
    replace_pair,
)
from lmablate.tokenizer.learn.pairs import UNTRACKED
from lmablate.tokenizer.learn.scan import scan
from lmablate.tokenizer.learn.ties import GreaterBytes
from lmablate.tokenizer.learn.tokens import byte_tokens
from lmablate.tokenizer.learn.words import HEADER, Words, pack_words
from lmablate.tokenizer.native.pairtable import find_pair
from lmablate.tokenizer.split.chunks import read_chunks
from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.split.text import TextStream


@numba.njit
def replace(left, right, symbol, words, tracked, moves):
    pair = find_pair(tracked.numbers, left, right, UNTRACKED)
    return replace_pair(pair, symbol, words, tracked, moves)


def packed(text: str) -> Words:
    return pack_words(count_words(read_chunks(TextStream([text]), SpecialTokens([])), [], 1, lambda size: None).counts)


def symbols(words: Words) -> list[list[int]]:
    """The symbols of each record, in order of the records."""
    lengths = [int(words.records[begin]) for begin in words.begins]
    return [
        words.records[begin + HEADER : begin + HEADER + length].tolist()
        for begin, length in zip(words.begins, lengths, strict=True)
    ]


def moves_of(text: str, left: str, right: str) -> tuple[Words, dict[int, tuple[int, int]]]:
    """The words after the merge of two characters into symbol 256, and (weight, records) of each sort of move."""
    words = packed(text)
    tracked = scan(words, byte_tokens(GreaterBytes().byte_keys()), 1 << 30)
    sort_count, _, moves = replace(np.uint16(ord(left)), np.uint16(ord(right)), 256, words, tracked, no_moves())
    return words, {int(sort): sums_of(moves, int(sort)) for sort in moves.sorts[:sort_count]}


def sums_of(moves: Moves, sort: int) -> tuple[int, int]:
    return int(moves.sums[MOVE_FIELDS * sort + WEIGHT]), int(moves.sums[MOVE_FIELDS * sort + LISTED])


def test_two_occurrences_side_by_side_move_the_pair_between_them() -> None:
    words, moves = moves_of("abab abab abab", "a", "b")
    assert sorted(symbols(words)) == [[ord(" "), 256, 256], [256, 256]]
    assert moves == {BETWEEN: (3, 2), BEFORE + ord(" "): (2, 1)}


def test_neighbours_left_and_right_move() -> None:
    words, moves = moves_of("xaby", "a", "b")
    assert symbols(words) == [[ord("x"), 256, ord("y")]]
    assert moves == {BEFORE + ord("x"): (1, 1), AFTER + ord("y"): (1, 1)}


@pytest.mark.parametrize("text", ["aaa", "aaaa"])
def test_a_run_is_merged_from_the_left(text: str) -> None:
    words, _ = moves_of(text, "a", "a")
    assert symbols(words) == [[256] * (len(text) // 2) + [ord("a")] * (len(text) % 2)]


def test_the_example_ends_with_one_token_per_word() -> None:
    reported: list[int] = []
    tokens, merges = learn_merges(packed("abab abab abab"), 300, GreaterBytes(), reported.append)
    assert merges == [(b"a", b"b"), (b"ab", b"ab"), (b" ", b"abab")]
    assert tokens[256:] == [b"ab", b"abab", b" abab"]
    assert sum(reported) == 3
