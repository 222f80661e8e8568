"""The three ways to cut text into pre-tokens agree: the pattern, and the scalar and the vector kernel.

They are tested together, so there is no test_vector.py.
"""

from collections.abc import Callable

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmablate.tokenizer.split.pattern import STARTS_CAPACITY, split_naive, split_scalar
from lmablate.tokenizer.split.text import padded
from lmablate.tokenizer.split.unicode_classes import class_table
from lmablate.tokenizer.split.vector import split_vector
from tests.tokenizer.helpers import UNTIMED


def kernel_for(split: Callable) -> Callable:
    @numba.njit(nogil=True)
    def all_starts(text, size, classes, out):
        starts = np.empty(STARTS_CAPACITY, np.int64)
        total, at = 0, 0
        while at < size:
            count, at = split(text, at, size, classes, starts, 0)
            for i in range(count):
                out[total + i] = starts[i]
            total += count
        return total

    return all_starts


KERNELS = {"scalar": kernel_for(split_scalar), "vector": kernel_for(split_vector)}


def starts_by(kernel: str, text: bytes) -> list[int]:
    out = np.empty(len(text), np.int64)
    return out[: KERNELS[kernel](padded(text), len(text), class_table(), out)].tolist()


def starts_by_pattern(text: bytes) -> list[int]:
    lengths = [len(word) for word in split_naive(text)]
    return np.cumsum([0, *lengths])[:-1].tolist()


def assert_all_agree(text: bytes) -> None:
    expected = starts_by_pattern(text)
    assert starts_by("scalar", text) == expected
    assert starts_by("vector", text) == expected


# Characters whose classes and lengths in UTF-8 differ, and everything that the pattern names.
INTERESTING = st.text(st.sampled_from("ab sdtmlver''  \n\t\r\x1c\x0012٣,-=\u3000\xa0\x85\u2028é中😀"), max_size=220)


@given(INTERESTING)
@UNTIMED
def test_kernels_equal_the_pattern_on_interesting_text(text: str) -> None:
    assert_all_agree(text.encode())


@given(st.text(max_size=150))
@UNTIMED
def test_kernels_equal_the_pattern_on_any_text(text: str) -> None:
    assert_all_agree(text.encode())


FRAGMENTS = st.sampled_from([b" a's", "中\u3000'".encode(), b"\xe4\xb8"])


@given(st.lists(st.one_of(st.binary(max_size=20), FRAGMENTS)))
@UNTIMED
def test_kernels_equal_the_pattern_on_bytes_that_are_not_text(pieces: list[bytes]) -> None:
    assert_all_agree(b"".join(pieces))


@pytest.mark.parametrize("filler", ["a", "1", "-", " ", "\n", "'", "中", "\u3000", "'s", " '"])
@pytest.mark.parametrize("length", [1, 59, 60, 61, 62, 63, 64, 65, 127, 500])
def test_kernels_equal_the_pattern_on_runs_across_the_edge_of_a_block(filler: str, length: int) -> None:
    for tail in ["", "b", "'ll", " b", "\u3000b", "'"]:
        assert_all_agree((filler * length + tail).encode())


CONTEXTS = ["{}", "a{}b", " {} ", "'{}s", "  {}x", "1{}2", "-{}\n"]
CODE_POINTS = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


@pytest.mark.parametrize("context", CONTEXTS[1:3])
def test_kernels_equal_the_pattern_on_the_first_code_points_in_context(context: str) -> None:
    assert_all_agree("".join(map(context.format, CODE_POINTS[:0x3500])).encode())


@pytest.mark.slow
@pytest.mark.parametrize("context", CONTEXTS)
def test_kernels_equal_the_pattern_on_every_code_point_in_context(context: str) -> None:
    assert_all_agree("".join(map(context.format, CODE_POINTS)).encode())
