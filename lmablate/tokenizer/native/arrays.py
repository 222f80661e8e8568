"""An array that grows inside a kernel."""

import numpy as np

from lmablate.tokenizer.native.jit import step


@step
def grown(array, needed):
    """Return the array itself if it has room for `needed` items, or else a copy that is at least twice as long.

    Args:
        array: one dimension, any type.
        needed: number of items.
    """
    if needed <= len(array):
        return array
    larger = np.empty(max(needed, 2 * len(array)), array.dtype)
    for i in range(len(array)):
        larger[i] = array[i]
    return larger
