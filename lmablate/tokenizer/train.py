"""Train a byte-level BPE tokenizer on a file: validate, count words, learn merges, number the tokens."""

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.progress import Progress

from lmablate.errors import UserError
from lmablate.tokenizer import naive
from lmablate.tokenizer.chunks import SpecialTokens, read_chunks
from lmablate.tokenizer.counting import count_words
from lmablate.tokenizer.jit import announced_compilation
from lmablate.tokenizer.merging import (
    PAIRS,
    THRESHOLD_RATIO,
    Words,
    byte_tokens,
    empty_moves,
    merge_tracked,
    pack_words,
    scan,
)
from lmablate.tokenizer.ties import GreaterBytes, TieRule

Pair = tuple[bytes, bytes]

SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 257, 1 << 16
# Merges between two reports of progress.
_ROUND = 256

logger = logging.getLogger("lmablate.tokenizer")


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
        vocab_size: how many tokens to make, 257 to 65,536. Where the text yields fewer, there are fewer,
            and a warning says so.
        special_tokens: strings that are tokens whole; they cut the text, and nothing is learnt from them.
        method: "fast", or "naive" for the slow reference; the result is the same.
        threads: threads that count words; any number gives the same result.
        progress: show bars on the terminal.
        tie: which of equally frequent pairs is merged; by default the one whose bytes come last in order.

    Returns:
        (vocab, merges). Ids 0-255 are the single bytes, by value; then come the merged tokens, in the order
        in which they were made; then the special tokens, in the order given. Two merges may make the same
        token; it has one id, so there may be more merges than merged tokens. A special token that is a single
        byte keeps that id.

    Raises:
        UserError: bad vocab_size, special_tokens, method or threads; the file is missing, unreadable or empty.
    """
    specials = SpecialTokens.of(special_tokens)
    trainers: dict[str, type[_Trainer]] = {"fast": _FastTrainer, "naive": _NaiveTrainer}
    if method not in trainers:
        raise UserError(f"method must be one of {sorted(trainers)}, but is {method!r}.")
    _check_vocab_size(vocab_size)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise UserError(f"threads must be a whole number of at least 1, but is {threads!r}.")
    path = _readable_file(input_path)

    new_specials = [token for token in specials.encoded if len(token) > 1]
    if vocab_size - len(new_specials) < 256:
        raise UserError(f"vocab_size must hold 256 bytes + {len(new_specials)} special tokens, but is {vocab_size}.")
    trainer = trainers[method](tie or GreaterBytes(), threads, progress and sys.stderr.isatty())
    tokens, merges = trainer.train(path, specials, vocab_size - len(new_specials))
    tokens += new_specials
    if len(tokens) < vocab_size:
        logger.warning(
            "%s has no more pairs to merge: the vocabulary has %d tokens instead of %d.",
            path,
            len(tokens),
            vocab_size,
        )
    return dict(enumerate(tokens)), merges


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


class _Trainer(ABC):
    def __init__(self, tie: TieRule, threads: int, show_progress: bool):
        self._tie = tie
        self._threads = threads
        self._show_progress = show_progress

    @abstractmethod
    def train(self, path: Path, specials: SpecialTokens, size: int) -> tuple[list[bytes], list[Pair]]:
        """Up to `size` tokens, the bytes first, and the merges."""


class _NaiveTrainer(_Trainer):
    def train(self, path, specials, size):
        words = naive.count_words(path.read_bytes(), specials.encoded)
        tokens = [bytes([byte]) for byte in range(256)]
        return tokens, naive.learn_merges(words, tokens, size, self._tie)


class _FastTrainer(_Trainer):
    def train(self, path, specials, size):
        with (
            announced_compilation("training"),
            Progress(disable=not self._show_progress, transient=True) as bars,
            path.open("rb", buffering=0) as file,
        ):
            counting = bars.add_task("counting words", total=path.stat().st_size)
            merging = bars.add_task("learning merges", total=size - 256)
            chunks = read_chunks(file, specials)
            counter = count_words(chunks, specials.encoded, self._threads, lambda size: bars.advance(counting, size))
            words = pack_words(counter.counts)
            del counter
            return self._learn(words, size, lambda merges: bars.advance(merging, merges))

    def _learn(self, words: Words, size: int, on_merges: Callable[[int], None]) -> tuple[list[bytes], list[Pair]]:
        tokens, moves = byte_tokens(self._tie.byte_keys()), empty_moves()
        lefts, rights = np.empty(_ROUND, np.uint16), np.empty(_ROUND, np.uint16)
        pairs: list[tuple[int, int]] = []
        while tokens.state[0] < size:
            tracked = scan(words, tokens, THRESHOLD_RATIO)
            if tracked.state[PAIRS] == 0:
                break
            while True:
                count, tracked, tokens, moves = merge_tracked(
                    words, tracked, tokens, moves, size, self._tie.keys_are_prefixes, lefts, rights
                )
                pairs += zip(lefts[:count].tolist(), rights[:count].tolist(), strict=True)
                on_merges(count)
                if count < _ROUND:
                    break
        text = tokens.text.tobytes()
        ends = tokens.begins + tokens.lengths
        spelled = [text[tokens.begins[i] : ends[i]] for i in range(tokens.state[0])]
        return spelled, [(spelled[left], spelled[right]) for left, right in pairs]
