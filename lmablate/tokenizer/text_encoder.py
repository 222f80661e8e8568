"""Encode texts of any length, chunk by chunk, in several threads if there are any to spare."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from lmablate.tokenizer.encode import Encoder, WordCache
from lmablate.tokenizer.learn.ties import Pair
from lmablate.tokenizer.native.jit import announced_compilation
from lmablate.tokenizer.split.chunks import CHUNK_BYTES, Chunk, read_chunks, whole_chunk
from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.split.text import ByteStream, padded


class TextEncoder:
    """Text -> ids, with caches of words that stay warm from call to call.

    Args:
        ids: the id of each token.
        merges: pairs of tokens, the first to be merged first.
        specials: the special tokens; they are in `ids`, too.
    """

    def __init__(self, ids: Mapping[bytes, int], merges: Sequence[Pair], specials: SpecialTokens):
        with announced_compilation("encoding"):
            self._encoder = Encoder(ids, merges, specials.encoded)
        self._specials = specials
        self._idle_caches: list[WordCache] = []

    def encode_bytes(self, text: bytes) -> np.ndarray:
        """Return the ids, uint16, of a text in memory."""
        with announced_compilation("encoding"):
            return self._encode_chunk(whole_chunk(padded(text), len(text), self._specials))

    def encode_stream(
        self, stream: ByteStream, chunk_bytes: int = CHUNK_BYTES, threads: int = 1
    ) -> Iterator[np.ndarray]:
        """Yield the ids, uint16, of each chunk of a stream, in order.

        Args:
            stream: the text.
            chunk_bytes: size of a chunk, roughly.
            threads: number of threads; any number gives the same ids. At most two chunks wait for each.
        """
        encoded = self._in_order(read_chunks(stream, self._specials, chunk_bytes), threads)
        while True:
            with announced_compilation("encoding"):
                ids = next(encoded, None)
            if ids is None:
                return
            yield ids

    def _in_order(self, chunks: Iterable[Chunk], threads: int) -> Iterator[np.ndarray]:
        if threads == 1:
            yield from map(self._encode_chunk, chunks)
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[np.ndarray]] = deque()
            for chunk in chunks:
                waiting.append(pool.submit(self._encode_chunk, chunk))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _encode_chunk(self, chunk: Chunk) -> np.ndarray:
        """Return the ids of a chunk, with a cache that no other thread uses meanwhile."""
        try:
            cache = self._encoder.with_room(self._idle_caches.pop())
        except IndexError:
            cache = self._encoder.new_cache()
        try:
            return self._encoder.encode(chunk, cache)
        finally:
            self._idle_caches.append(cache)
