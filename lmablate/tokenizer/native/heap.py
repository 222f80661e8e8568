"""A binary heap in plain arrays, whose order the caller supplies.

An item is a value and a number: values[i] and numbers[i], both int64, and the first item of the order is at index 0.
The order is a compiled function

    goes_first(value, number, other_value, other_number, order)    whether the item is before the other one

and `order` is a tuple of the arrays that this function needs. numba compiles these steps anew for each such function,
so nothing is called through a pointer.
"""

from lmablate.tokenizer.native.jit import inline


@inline
def push(value, number, values, numbers, size, goes_first, order):
    """Add an item to a heap of `size` items, whose arrays must have room for one more."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if not goes_first(value, number, values[parent], numbers[parent], order):
            break
        values[child], numbers[child] = values[parent], numbers[parent]
        child = parent
    values[child], numbers[child] = value, number


@inline
def replace_first(value, number, values, numbers, size, goes_first, order):
    """Put an item in the place of the first one of a heap of `size` items; of size 0 too, if the arrays have room."""
    parent = 0
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size:
            other = child + 1
            child += goes_first(values[other], numbers[other], values[child], numbers[child], order)
        if not goes_first(values[child], numbers[child], value, number, order):
            break
        values[parent], numbers[parent] = values[child], numbers[child]
        parent = child
    values[parent], numbers[parent] = value, number
