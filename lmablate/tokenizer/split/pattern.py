r"""GPT-2's pattern, in two versions: it cuts text into pre-tokens, the units that no merge may cross.

    '(?:[sdmt]|ll|ve|re)     an English contraction
    | ?\p{L}+                letters       \
    | ?\p{N}+                numbers        } with the one space before them
    | ?[^\s\p{L}\p{N}]+      all the rest  /
    |\s+(?!\S)               whitespace, but not its last character if something follows
    |\s+                     that last character, where the rules above could not take it

(Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.)

`split_naive` runs the pattern itself, on the `regex` package. `token_end` follows the same rules by hand, one character
at a time; `vector.split_vector` does so 64 bytes at a time. All of them rest on one property: **the pattern never looks
back**. So a scan may stop at any start of a pre-token, and another scan may begin there as if the text began there.

Text here is bytes. A byte that is not part of valid UTF-8 counts as one character of the class "all the rest". The
arguments `text`, `end`, `classes` and `starts` are explained in the package's docstring.
"""

import regex

from lmablate.tokenizer.native.jit import inline, step
from lmablate.tokenizer.split.unicode_classes import OTHER, WHITESPACE

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_COMPILED_PATTERN = regex.compile(PATTERN)

# Number of pre-tokens found at a time: enough to hide the latency of memory, few enough for the first-level cache.
BATCH = 512
# Length of the arrays of starts. They are longer than a batch, because a block of 64 bytes is never left half done.
STARTS_CAPACITY = BATCH + 80

_BLANK, _APOSTROPHE = ord(" "), ord("'")
_S, _D, _M, _T, _L, _V, _E, _R = b"sdmtlver"


def split_naive(text: bytes) -> list[bytes]:
    """Return the pre-tokens of a text without special tokens, by the pattern itself.

    Bytes that are not UTF-8 become lone surrogates and then bytes again; `regex` counts lone surrogates as "all the
    rest".
    """
    decoded = text.decode("utf-8", "surrogateescape")
    return [word.encode("utf-8", "surrogateescape") for word in _COMPILED_PATTERN.findall(decoded)]


@inline
def _is_continuation(byte):
    return byte & 0xC0 == 0x80


@step
def wide_character(text, at, end, classes):
    """Return (class, length in bytes) of the character at `at`, whose first byte is not ASCII.

    Overlong forms, surrogates, code points beyond U+10FFFF and cut sequences are invalid: the result is then OTHER and
    one byte.
    """
    lead = int(text[at])
    if lead < 0xC2 or lead > 0xF4:
        return OTHER, 1
    length = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if at + length > end:
        return OTHER, 1
    code_point = lead & (0x7F >> length)
    for i in range(at + 1, at + length):
        if not _is_continuation(text[i]):
            return OTHER, 1
        code_point = code_point << 6 | (int(text[i]) & 0x3F)
    overlong = (length == 3 and code_point < 0x800) or (length == 4 and code_point < 0x10000)
    if overlong or 0xD800 <= code_point <= 0xDFFF or code_point > 0x10FFFF:
        return OTHER, 1
    return int(classes[code_point]), length


@inline
def _character(text, at, end, classes):
    """Return (class, length in bytes) of the character at `at`."""
    if text[at] < 0x80:
        return int(classes[text[at]]), 1
    return wide_character(text, at, end, classes)


@inline
def contraction_length(text, at, end):
    """Return the length in bytes of the contraction that begins at `at`; 0 if there is none."""
    if text[at] != _APOSTROPHE or at + 1 >= end:
        return 0
    first = text[at + 1]
    if first == _S or first == _D or first == _M or first == _T:  # noqa: SIM109 - a tuple of bytes is slower
        return 2
    if at + 2 < end:
        second = text[at + 2]
        ll = first == _L and second == _L
        ve = first == _V and second == _E
        re = first == _R and second == _E
        if ll or ve or re:
            return 3
    return 0


@step
def _run_end(text, at, end, kind, classes):
    """Return the end of the run of characters of class `kind` that reaches `at`."""
    while at < end:
        next_kind, length = _character(text, at, end, classes)
        if next_kind != kind:
            break
        at += length
    return at


@step
def _whitespace_end(text, start, end, classes):
    """Return the end of the whitespace token at `start`: the run, less its last character if anything follows."""
    at, last = start, start
    while at < end:
        kind, length = _character(text, at, end, classes)
        if kind != WHITESPACE:
            return last if last > start else at
        last = at
        at += length
    return at


@step
def token_end(text, start, end, classes):
    """Return the end of the pre-token that begins at `start` in the text that ends at `end`: the pattern by hand."""
    contraction = contraction_length(text, start, end)
    if contraction > 0:
        return start + contraction
    kind, length = _character(text, start, end, classes)
    if text[start] == _BLANK and start + 1 < end:
        next_kind, next_length = _character(text, start + 1, end, classes)
        if next_kind != WHITESPACE:
            return _run_end(text, start + 1 + next_length, end, next_kind, classes)
    if kind == WHITESPACE:
        return _whitespace_end(text, start, end, classes)
    return _run_end(text, start + length, end, kind, classes)


@step
def split_scalar(text, begin, end, classes, starts, count):
    """Write to starts[count:] where each pre-token of text[begin:end] begins, until a batch is full.

    Returns:
        (new count, where to continue). To continue is possible at `end`, or at the start of a pre-token that is not yet
        in `starts`.
    """
    while begin < end and count < BATCH:
        starts[count] = begin
        count += 1
        begin = token_end(text, begin, end, classes)
    return count, begin
