"""Pre-tokens in batches, special tokens among them, by the fastest kernel that this processor has."""

from lmablate.tokenizer.native.jit import VECTORISED, step
from lmablate.tokenizer.split.pattern import BATCH, split_scalar
from lmablate.tokenizer.split.vector import split_vector

split_batch = split_vector if VECTORISED else split_scalar


@step
def next_batch(text, at, end, specials, next_special, classes, starts):
    """Fill `starts` with the next pre-tokens of text[at:end]; each special token is one of its own.

    Args:
        text: uint8, padded (see `text.PADDING`).
        at: where a pre-token begins.
        end: where the text ends.
        specials: where special tokens begin and end, int64 [n, 2].
        next_special: the number of special tokens that end at or before `at`.
        classes: see `unicode_classes.class_table`.
        starts: int64 [STARTS_CAPACITY].

    Returns:
        (count, where the next batch begins, next_special there). Pre-token j is text[starts[j]:starts[j + 1]];
        starts[count] is set too.
    """
    count = 0
    while at < end and count < BATCH:
        piece_end = specials[next_special, 0] if next_special < len(specials) else end
        if at < piece_end:
            count, at = split_batch(text, at, piece_end, classes, starts, count)
        if at == piece_end and at < end:
            starts[count] = at
            count += 1
            at = specials[next_special, 1]
            next_special += 1
    starts[count] = at
    return count, at, next_special
