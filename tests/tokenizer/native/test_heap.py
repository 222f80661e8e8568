"""A heap gives its items back in the order of the caller."""

import random

import numba
import numpy as np
import pytest

from lmablate.tokenizer.native.heap import push, replace_first


@numba.njit
def goes_first(value, number, other_value, other_number, order):
    return value < other_value or (value == other_value and order[number] < order[other_number])


@numba.njit
def sort(values, order):
    size = len(values)
    heap_values, heap_numbers, numbers = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    for i in range(size):
        push(values[i], i, heap_values, heap_numbers, i, goes_first, order)
    for i in range(size):
        numbers[i] = heap_numbers[0]
        last = size - i - 1
        replace_first(heap_values[last], heap_numbers[last], heap_values, heap_numbers, last, goes_first, order)
    return numbers


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_items_leave_the_heap_in_the_order_of_the_caller(size: int) -> None:
    source = random.Random(size)
    values, order = np.array(source.choices(range(10), k=size)), np.array(source.sample(range(size), size))
    assert sort(values, order).tolist() == sorted(range(size), key=lambda i: (values[i], order[i]))
