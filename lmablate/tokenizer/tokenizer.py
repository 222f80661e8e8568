"""The tokenizer that the rest of the package uses: text to ids and back, and a file to keep it in."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lmablate.errors import UserError
from lmablate.tokenizer import unicode_classes
from lmablate.tokenizer.byte_alphabet import from_printable, to_printable
from lmablate.tokenizer.chunks import Chunk, SpecialTokens, TextStream, padded, read_chunks, utf8
from lmablate.tokenizer.encode import Encoder, WordCache
from lmablate.tokenizer.jit import announced_compilation
from lmablate.tokenizer.train import LARGEST_VOCABULARY

_FORMAT = "lmablate-tokenizer"
_VERSION = 1
_PATTERN = "gpt2"
_LARGEST_FILE = 64 << 20
# How much text `encode_iterable` gathers before it yields ids.
_GATHERED_BYTES = 1 << 17


class Tokenizer:
    """A byte-level BPE tokenizer with GPT-2's pattern.

    Args:
        vocab: the bytes of each id; ids are 0, 1, 2, ... without gaps, at most 65,536, no two with the same
        bytes,
            every single byte among them.
        merges: pairs of tokens, the most urgent first; both and what they make must be in `vocab`.
        special_tokens: strings that are one token wherever they occur (the longest, where several begin at
        one
            place). One that `vocab` does not have gets the next free id.

    Raises:
        UserError: for any breach of the above.
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
    ):
        self._specials = SpecialTokens.of(special_tokens)
        self._tokens = _listed(vocab)
        self._tokens += [special for special in self._specials.encoded if special not in set(self._tokens)]
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        self._merges = [(left, right) for left, right in merges]
        self._check()
        self._idle_caches: list[WordCache] = []

    def _check(self) -> None:
        if len(self._tokens) > LARGEST_VOCABULARY:
            raise UserError(f"vocab must have at most {LARGEST_VOCABULARY} tokens, but has {len(self._tokens)}.")
        if len(self._ids) < len(self._tokens):
            twice = next(token for i, token in enumerate(self._tokens) if self._ids[token] != i)
            raise UserError(f"vocab must not have a token twice, but has {twice!r} twice.")
        if missing := [byte for byte in range(256) if bytes([byte]) not in self._ids]:
            raise UserError(f"vocab must have every single byte, but lacks {bytes(missing[:1])!r}.")
        for pair in self._merges:
            if any(token not in self._ids for token in (*pair, pair[0] + pair[1])):
                raise UserError(f"merges must join tokens of vocab into tokens of vocab, but {pair!r} does not.")
        if len(set(self._merges)) < len(self._merges):
            raise UserError("merges must not have a pair twice.")

    @property
    def vocab(self) -> dict[int, bytes]:
        """The bytes of every id, special tokens included."""
        return dict(enumerate(self._tokens))

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        return list(self._merges)

    @property
    def special_tokens(self) -> list[str]:
        return list(self._specials.tokens)

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of an id."""
        if not 0 <= token_id < len(self._tokens):
            raise UserError(f"a token id must be from 0 to {len(self._tokens) - 1}, but is {token_id}.")
        return self._tokens[token_id]

    def token_id(self, token: bytes) -> int | None:
        """The id of a token, or None."""
        return self._ids.get(token)

    def token_lengths(self) -> np.ndarray:
        """The number of bytes of each id: int64 [vocab_size]."""
        return np.array([len(token) for token in self._tokens], np.int64)

    # ----------------------------------------------------------------------------------------------- encoding

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return self.encode_bytes(utf8(text)).tolist()

    def encode_bytes(self, text: bytes) -> np.ndarray:
        """The ids (uint16) of bytes that need not be valid UTF-8: a bad byte is a character of its own."""
        with announced_compilation("encoding"):
            return self._encode_chunk(self._specials.whole(padded(text), len(text)))

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        """The ids of the concatenation of the texts, in memory that does not grow with it."""
        for chunk in read_chunks(TextStream(texts), self._specials, _GATHERED_BYTES):
            with announced_compilation("encoding"):
                ids = self._encode_chunk(chunk)
            yield from ids.tolist()

    def encode_file(self, path: str | Path, out: str | Path, *, threads: int = 1) -> int:
        """Write the ids of a file as uint16, little end first, and return how many they are.

        The file may be larger than memory. `out` appears, complete, only at the end: until then the ids are
        in a file with ".part" after the name, which an error removes. Any number of threads gives the same
        file.

        Raises:
            UserError: the file cannot be read, `out` cannot be written, or `threads` is below 1.
        """
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise UserError(f"threads must be a whole number of at least 1, but is {threads!r}.")
        count = 0
        with announced_compilation("encoding"), _open(Path(path)) as source, written_whole(out) as sink:
            for ids in self._encode_in_order(read_chunks(source, self._specials), threads):
                sink.write(ids.astype("<u2", copy=False).data)
                count += len(ids)
        return count

    def _encode_in_order(self, chunks: Iterable[Chunk], threads: int) -> Iterator[np.ndarray]:
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
        try:
            cache = self._idle_caches.pop()
        except IndexError:
            cache = self._encoder.new_cache()
        try:
            return self._encoder.encode(chunk, cache)
        finally:
            self._idle_caches.append(cache)

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self._ids, self._merges, self._specials.encoded)

    # ----------------------------------------------------------------------------------------------- decoding

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids: exactly those that were encoded."""
        return b"".join(map(self.token_bytes, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are not valid UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    # ------------------------------------------------------------------------------------------------- files

    def _canonical_json(self) -> str:
        merges = [[self._ids[left], self._ids[right]] for left, right in self._merges]
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "pattern": _PATTERN,
            "unicode_classes": unicode_classes.VERSION,
            "tokens": [to_printable(token) for token in self._tokens],
            "merges": merges,
            "special_tokens": self.special_tokens,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of everything that decides which ids a text gets."""
        return hashlib.sha256(self._canonical_json().encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON; the file appears only when it is complete."""
        with written_whole(path) as file:
            file.write(self._canonical_json().encode())

    @classmethod
    def from_files(cls, path: str | Path) -> "Tokenizer":
        """Read what `save` wrote; UserError if the file is anything else."""
        content = read_json(Path(path))
        problem = _problem_in(content)
        if problem:
            raise UserError(f"the tokenizer file {path} is not valid: {problem}.")
        try:
            tokens = [from_printable(token) for token in content["tokens"]]
            merges = [(tokens[left], tokens[right]) for left, right in content["merges"]]
        except KeyError as error:
            raise UserError(f"the tokenizer file {path} is not valid: {error} stands for no byte.") from None
        return cls(dict(enumerate(tokens)), merges, content["special_tokens"])


def _listed(vocab: Mapping[int, bytes]) -> list[bytes]:
    if set(vocab) != set(range(len(vocab))):
        raise UserError(f"the ids of vocab must be 0 to {len(vocab) - 1} without gaps, but are not.")
    return [bytes(vocab[i]) for i in range(len(vocab))]


def _open(path: Path) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        raise UserError(f"the file {path} cannot be read: {error.strerror}.") from None


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name only when complete; an error leaves nothing behind."""
    part = Path(f"{path}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise UserError(f"the file {path} cannot be written: {error.strerror}.") from None
        raise


def read_json(path: Path) -> Any:
    """The content of a JSON file of moderate size; UserError if it is none."""
    with _open(path) as file:
        text = file.read(_LARGEST_FILE + 1)
    if len(text) > _LARGEST_FILE:
        raise UserError(f"the tokenizer file {path} is larger than {_LARGEST_FILE} bytes.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the tokenizer file {path} is not JSON: {error}.") from None


def _problem_in(content: Any) -> str | None:
    """What is wrong with the shape of a tokenizer file, in words; None if nothing is."""
    expected = {
        "format": _FORMAT,
        "version": _VERSION,
        "pattern": _PATTERN,
        "unicode_classes": unicode_classes.VERSION,
    }
    if not isinstance(content, dict):
        return "it holds no object"
    for key, value in expected.items():
        if content.get(key) != value:
            return f"{key} must be {value!r}, but is {content.get(key)!r}"
    for key in ("tokens", "special_tokens"):
        if not isinstance(content.get(key), list) or not all(isinstance(token, str) for token in content[key]):
            return f"{key} must be a list of strings"
    count = len(content["tokens"])
    merges = content.get("merges")
    if not isinstance(merges, list) or not all(_is_merge(merge, count) for merge in merges):
        return f"merges must be a list of pairs of ids from 0 to {count - 1}"
    return None


def _is_merge(merge: Any, count: int) -> bool:
    return (
        isinstance(merge, list)
        and len(merge) == 2
        and all(type(token_id) is int and 0 <= token_id < count for token_id in merge)
    )
