"""Byte-pair encoding as the paper describes it (Sennrich et al. 2016, arXiv 1508.07909): slow, and easy to read.

Read this file first. The fast versions, in `learn` and `encode`, must give exactly the same result; the tests compare
them. Only the tests, the benchmarks and `train_bpe(method="naive")` use what is here.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lmablate.tokenizer.learn.ties import Pair, TieRule
from lmablate.tokenizer.split.pattern import split_naive

_NO_RANK = float("inf")


def count_words_naive(text: bytes, specials: Iterable[bytes]) -> Counter[tuple[bytes, ...]]:
    """Return how often each pre-token occurs, each as a tuple of its bytes; special tokens are not counted."""
    counts = Counter(
        word
        for piece, is_special in _split_at_specials(text, specials)
        if not is_special
        for word in split_naive(piece)
    )
    return Counter({tuple(bytes([byte]) for byte in word): count for word, count in counts.items()})


def learn_merges_naive(
    words: Mapping[tuple[bytes, ...], int], size: int, tie: TieRule
) -> tuple[list[bytes], list[Pair]]:
    """Merge the most frequent pair until there are `size` tokens, or no pair is left.

    Args:
        words: how often each word occurs, each as a tuple of tokens.
        size: number of tokens, the 256 bytes among them.
        tie: which of equally frequent pairs is merged.

    Returns:
        (the tokens, bytes first, then the merged ones in the order they were made; the merges). Two different merges
        may make the same token ("a" + "aa" and "aa" + "a"): it gets one id, and both are listed.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    known = set(tokens)
    merges = []
    while len(tokens) < size:
        counts = _count_pairs(words)
        if not counts:
            break
        ids = {token: i for i, token in enumerate(tokens)}
        best = max(counts, key=lambda pair: (counts[pair], tie.preference(pair, ids)))
        merges.append(best)
        merged = best[0] + best[1]
        if merged not in known:
            known.add(merged)
            tokens.append(merged)
        words = {_merge_word(word, best): count for word, count in words.items()}
    return tokens, merges


def _count_pairs(words: Mapping[tuple[bytes, ...], int]) -> Counter[Pair]:
    counts: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += count
    return counts


def _merge_word(word: tuple[bytes, ...], pair: Pair) -> tuple[bytes, ...]:
    """Return the word with every occurrence of the pair, from the left, made one token."""
    merged = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


class NaiveEncoder:
    """Encodes by the definition: in each pre-token, merge the pair of lowest rank, leftmost first.

    Args:
        ids: the id of every token.
        merges: pairs of tokens; a pair's rank is its place in this list.
        specials: the special tokens.
    """

    def __init__(self, ids: Mapping[bytes, int], merges: Sequence[Pair], specials: Sequence[bytes]):
        self._ids = ids
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._specials = specials

    def encode(self, text: bytes) -> list[int]:
        """Return the ids of a text."""
        ids = []
        for piece, is_special in _split_at_specials(text, self._specials):
            words = [piece] if is_special else split_naive(piece)
            for word in words:
                ids += [self._ids[word]] if is_special else self._encode_word(word)
        return ids

    def _encode_word(self, word: bytes) -> list[int]:
        tokens = [bytes([byte]) for byte in word]
        while len(tokens) > 1:
            ranks = [self._ranks.get(pair, _NO_RANK) for pair in itertools.pairwise(tokens)]
            lowest = min(ranks)
            if lowest == _NO_RANK:
                break
            first = ranks.index(lowest)
            tokens[first : first + 2] = [tokens[first] + tokens[first + 1]]
        return [self._ids[token] for token in tokens]


def _split_at_specials(text: bytes, specials: Iterable[bytes]) -> list[tuple[bytes, bool]]:
    """Return the text as a list of (piece, whether it is a special token); at one place the longest one is taken."""
    longest_first = sorted(specials, key=len, reverse=True)
    if not longest_first:
        return [(text, False)]
    pattern = b"(" + b"|".join(map(re.escape, longest_first)) + b")"
    # re.split with one group gives ordinary and special pieces in turns.
    return [(piece, i % 2 == 1) for i, piece in enumerate(re.split(pattern, text)) if piece]
