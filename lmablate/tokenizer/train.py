"""Train a byte-level BPE tokenizer on a file: check the arguments, count words, learn merges, number the tokens."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from lmablate.errors import UserError
from lmablate.tokenizer.learn.ties import GreaterBytes, Pair, TieRule
from lmablate.tokenizer.split.specials import SpecialTokens

SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 257, 1 << 16
_METHODS = ["fast", "naive"]

log = logging.getLogger(__name__)


def train_bpe(
    input_path: str | Path,
    vocab_size: int,
    special_tokens: Sequence[str] | None,
    *,
    method: str = "fast",
    threads: int = 1,
    progress: bool = False,
    tie: TieRule | None = None,
) -> tuple[dict[int, bytes], list[Pair]]:
    """Learn a byte-level BPE vocabulary (Sennrich et al. 2016, arXiv 1508.07909) with GPT-2's pattern.

    Args:
        input_path: a file of UTF-8 text; bytes that are not valid are kept as they are.
        vocab_size: number of tokens to make, 257 to 65,536. If the text yields fewer, there are fewer, and a warning
            says so.
        special_tokens: strings that are one token each; they split the text, and nothing is learnt from them.
        method: "fast", or "naive" for the slow reference, which gives the same result.
        threads: number of threads that count words; any number gives the same result.
        progress: whether to show progress bars on the terminal.
        tie: which of equally frequent pairs is merged; by default the one whose bytes come last in order.

    Returns:
        (vocab, merges). Ids 0-255 are the single bytes, by value; then come the merged tokens, in the order in which
        they were made; then the special tokens, in the order given. Two merges may make the same token; it has one id,
        so there may be more merges than merged tokens. A special token that is a single byte keeps that id.

    Raises:
        UserError: if vocab_size, special_tokens, method or threads is not valid, or the file is missing, unreadable or
            empty.
    """
    specials = SpecialTokens.of(special_tokens)
    if method not in _METHODS:
        raise UserError(f"method must be one of {_METHODS}, but is {method!r}.")
    _check_vocab_size(vocab_size)
    check_threads(threads)
    path = _readable_file(input_path)
    tie = tie or GreaterBytes()

    new_specials = [token for token in specials.encoded if len(token) > 1]
    size = vocab_size - len(new_specials)
    if size < 256:
        raise UserError(f"vocab_size must hold 256 bytes + {len(new_specials)} special tokens, but is {vocab_size}.")
    if method == "naive":
        from lmablate.tokenizer.naive import count_words_naive, learn_merges_naive  # here, as in `_learn`

        tokens, merges = learn_merges_naive(count_words_naive(path.read_bytes(), specials.encoded), size, tie)
    else:
        tokens, merges = _learn(path, specials, size, tie, threads, progress and sys.stderr.isatty())
    tokens += new_specials
    if len(tokens) < vocab_size:
        log.warning(
            "%s has no more pairs to merge: the vocabulary has %d tokens instead of %d.", path, len(tokens), vocab_size
        )
    return dict(enumerate(tokens)), merges


def _learn(
    path: Path, specials: SpecialTokens, size: int, tie: TieRule, threads: int, show_progress: bool
) -> tuple[list[bytes], list[Pair]]:
    """Return up to `size` tokens, the bytes first, and the merges; the arguments are those of `train_bpe`, checked."""
    # Here: these modules import numba, which takes half a second. A run whose tokenizer exists does without.
    from lmablate.tokenizer.learn.counting import count_words
    from lmablate.tokenizer.learn.merge import learn_merges
    from lmablate.tokenizer.learn.words import pack_words
    from lmablate.tokenizer.native.jit import announced_compilation
    from lmablate.tokenizer.split.chunks import read_chunks

    with (
        announced_compilation("training"),
        Progress(disable=not show_progress, transient=True) as bars,
        path.open("rb", buffering=0) as file,
    ):
        counting = bars.add_task("counting words", total=path.stat().st_size)
        merging = bars.add_task("learning merges", total=size - 256)
        chunks = read_chunks(file, specials)
        counter = count_words(chunks, specials.encoded, threads, lambda size: bars.advance(counting, size))
        words = pack_words(counter.counts)
        del counter  # its memory is needed no more
        return learn_merges(words, size, tie, lambda merges: bars.advance(merging, merges))


def check_threads(threads: int) -> None:
    """Check a number of threads.

    Raises:
        UserError: if it is not a whole number of at least 1.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise UserError(f"threads must be a whole number of at least 1, but is {threads!r}.")


def _check_vocab_size(vocab_size: int) -> None:
    is_whole = isinstance(vocab_size, int) and not isinstance(vocab_size, bool)
    if not is_whole or not SMALLEST_VOCABULARY <= vocab_size <= LARGEST_VOCABULARY:
        raise UserError(
            f"vocab_size must be a whole number from {SMALLEST_VOCABULARY} to {LARGEST_VOCABULARY} "
            f"(256 bytes and at least one more; ids of 16 bits), but is {vocab_size!r}."
        )


def _readable_file(path: str | Path) -> Path:
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"the text file {path} is empty.")
    except OSError as error:
        raise UserError(f"the text file {path} cannot be read: {error.strerror}.") from None
    return path
