"""A pair table finds the pairs that were inserted, and no others."""

import numba
import numpy as np

from lmablate.tokenizer.native.pairtable import find_pair, insert_pair

MISSING = -1


@numba.njit
def fill(table, lefts, rights):
    for i in range(len(lefts)):
        insert_pair(table, lefts[i], rights[i], i)


@numba.njit
def find(table, left, right):
    return find_pair(table, left, right, MISSING)


def test_inserted_pairs_are_found_and_no_others() -> None:
    # The extremes have keys of all zeros and all ones.
    pairs = [(0, 0), (65_535, 65_535), *((i, 7 * i % 50) for i in range(1, 50))]
    lefts, rights = (np.array(side, np.uint16) for side in zip(*pairs, strict=True))
    table = np.zeros(128, np.uint64)
    fill(table, lefts, rights)
    for number, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        assert find(table, left, right) == number
        if (int(right), int(left)) not in pairs:
            assert find(table, right, left) == MISSING
