"""Pre-tokens in batches, special tokens among them, by the fastest kernel that this processor has."""

from lmablate.tokenizer.jit import VECTORISED, step
from lmablate.tokenizer.pretokenize import BATCH, split_scalar
from lmablate.tokenizer.vector import split_vector

split = split_vector if VECTORISED else split_scalar


@step
def next_batch(text, at, end, specials, next_special, classes, starts):
    """Fill `starts` with the next pre-tokens of text[at:end], each special token being one of its own.

    text:     uint8, padded (see `chunks.PADDING`)
    specials: int64 [n, 2], where special tokens begin and end; next_special is the first not yet passed
    starts:   int64 [STARTS_CAPACITY]

    Returns (count, where the next batch begins, next_special). Pre-token j is text[starts[j]:starts[j + 1]],
    and starts[count] is set too.
    """
    count = 0
    while at < end and count < BATCH:
        piece_end = specials[next_special, 0] if next_special < len(specials) else end
        if at < piece_end:
            count, at = split(text, at, piece_end, classes, starts, count)
        if at == piece_end and at < end:
            starts[count] = at
            count += 1
            at = specials[next_special, 1]
            next_special += 1
    starts[count] = at
    return count, at, next_special
