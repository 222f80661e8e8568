"""The tokenizer that the rest of the package uses: text to ids and back, and a file to keep it in."""

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmablate.errors import UserError
from lmablate.files import atomic_write, write_bytes
from lmablate.tokenizer.file_format import canonical_json, read_tokenizer, write_errors_named
from lmablate.tokenizer.gpt2_format import read_gpt2
from lmablate.tokenizer.learn.ties import Pair
from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.split.text import TextStream, utf8
from lmablate.tokenizer.train import LARGEST_VOCABULARY, check_threads

if TYPE_CHECKING:
    from lmablate.tokenizer.text_encoder import TextEncoder

# Bytes of text that `encode_iterable` gathers before it yields ids.
_GATHERED_BYTES = 1 << 17


class Tokenizer:
    """A byte-level BPE tokenizer with GPT-2's pattern.

    Args:
        vocab: the bytes of each id; ids are 0, 1, 2, ... without gaps, at most 65,536, no two with the same bytes,
            every single byte among them.
        merges: pairs of tokens, the first to be merged first; both and what they make must be in `vocab`.
        special_tokens: strings that are one token wherever they occur (the longest, if several begin at one place). One
            that `vocab` does not have gets the next free id.

    Raises:
        UserError: if an argument breaks one of these rules.
    """

    def __init__(self, vocab: Mapping[int, bytes], merges: Sequence[Pair], special_tokens: Sequence[str] | None = None):
        self._specials = SpecialTokens.of(special_tokens)
        self._tokens = _in_order_of_ids(vocab)
        known = set(self._tokens)
        self._tokens += [special for special in self._specials.encoded if special not in known]
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        self._merges = [_pair(merge) for merge in merges]
        self._check()

    def _check(self) -> None:
        if len(self._tokens) > LARGEST_VOCABULARY:
            raise UserError(f"vocab must have at most {LARGEST_VOCABULARY} tokens, but has {len(self._tokens)}.")
        if len(self._ids) < len(self._tokens):
            twice = next(token for i, token in enumerate(self._tokens) if self._ids[token] != i)
            raise UserError(f"vocab must not have a token twice, but has {twice!r} twice.")
        if missing := [byte for byte in range(256) if bytes([byte]) not in self._ids]:
            raise UserError(f"vocab must have every single byte, but lacks {bytes(missing[:1])!r}.")
        for left, right in self._merges:
            if not (left in self._ids and right in self._ids and left + right in self._ids):
                raise UserError(
                    f"merges must join tokens of vocab into tokens of vocab, but {(left, right)!r} does not."
                )
        if len(set(self._merges)) < len(self._merges):
            raise UserError("merges must not have a pair twice.")

    # ---------------------------------------------------------------------------------------------- description

    @property
    def vocab(self) -> dict[int, bytes]:
        """The bytes of every id, special tokens included."""
        return dict(enumerate(self._tokens))

    @property
    def merges(self) -> list[Pair]:
        """The pairs of tokens that are merged, the first to be merged first."""
        return list(self._merges)

    @property
    def special_tokens(self) -> list[str]:
        """The special tokens, in the order given."""
        return list(self._specials.tokens)

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included."""
        return len(self._tokens)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of an id.

        Raises:
            UserError: if there is no such id.
        """
        try:
            index = operator.index(token_id)
        except TypeError:  # no number, or several
            index = -1
        if not 0 <= index < len(self._tokens):
            raise UserError(f"a token id must be from 0 to {len(self._tokens) - 1}, but is {token_id!r:.80}.")
        return self._tokens[index]

    def token_id(self, token: bytes) -> int | None:
        """Return the id of a token; None if it is not in the vocabulary."""
        if not isinstance(token, bytes):
            raise UserError(f"a token must be bytes, but is {token!r:.80}.")
        return self._ids.get(token)

    def token_lengths(self) -> np.ndarray:
        """Return the number of bytes of each id: int64 [vocab_size]."""
        return np.array([len(token) for token in self._tokens], np.int64)

    # ----------------------------------------------------------------------------------------------- encoding

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return self.encode_bytes(utf8(text)).tolist()

    def encode_bytes(self, text: bytes) -> np.ndarray:
        """Return the ids, uint16, of bytes that need not be valid UTF-8: an invalid byte is a character of its own."""
        if not isinstance(text, bytes | bytearray | memoryview):
            raise UserError(f"encode_bytes takes bytes, but was given {text!r:.80}; encode takes a string.")
        return self._encoder.encode_bytes(text)

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the concatenation of the texts, in memory that does not grow with its length."""
        if not isinstance(texts, Iterable):
            raise UserError(f"encode_iterable takes strings one after the other, but was given {texts!r:.80}.")
        for ids in self._encoder.encode_stream(TextStream(texts), chunk_bytes=_GATHERED_BYTES):
            yield from ids.tolist()

    def encode_file(self, path: str | Path, out: str | Path, *, threads: int = 1) -> int:
        """Write the ids of a file as uint16, low byte first, and return how many there are.

        The file may be larger than memory. `out` appears only when it is complete. Until then the ids are in a hidden
        file beside it, whose name ends in ".part"; an error removes that file.

        Args:
            path: the text.
            out: the file to write.
            threads: number of threads; any number gives the same file.

        Raises:
            UserError: if the file cannot be read, `out` cannot be written, or `threads` is not valid.
        """
        check_threads(threads)
        count = 0
        with (
            _open_for_reading(Path(path)) as source,
            write_errors_named(out),
            atomic_write(Path(out)) as part,
            part.open("wb") as sink,
        ):
            for ids in self._encoder.encode_stream(source, threads=threads):
                sink.write(ids.astype("<u2", copy=False).data)
                count += len(ids)
        return count

    @cached_property
    def _encoder(self) -> "TextEncoder":
        # Here: it imports numba, which takes half a second. Reading a tokenizer and decoding do without.
        from lmablate.tokenizer.text_encoder import TextEncoder

        return TextEncoder(self._ids, self._merges, self._specials)

    # ----------------------------------------------------------------------------------------------- decoding

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids: exactly those that were encoded."""
        if not isinstance(ids, Iterable):
            raise UserError(f"decode takes a list of token ids, but was given {ids!r:.80}.")
        return b"".join(map(self.token_bytes, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; bytes that are not valid UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    # ------------------------------------------------------------------------------------------------- files

    def _content(self) -> bytes:
        return canonical_json(self._tokens, self._ids, self._merges, self._specials.tokens).encode()

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of everything that decides which ids a text gets."""
        return hashlib.sha256(self._content()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON; the file appears only when it is complete.

        Raises:
            UserError: if the file cannot be written.
        """
        with write_errors_named(path):
            write_bytes(Path(path), self._content())

    @classmethod
    def from_files(
        cls,
        vocab_filepath: str | Path,
        merges_filepath: str | Path | None = None,
        special_tokens: Sequence[str] | None = None,
    ) -> "Tokenizer":
        """Read the file that `save` wrote, or a pair of files such as GPT-2's vocab.json and merges.txt.

        Args:
            vocab_filepath: the file that `save` wrote, or the vocabulary.
            merges_filepath: the merges; None for a file that `save` wrote, which has them.
            special_tokens: as in the constructor; a file that `save` wrote has its own, to which these are added.

        Raises:
            UserError: if a file cannot be read, or is anything else.
        """
        specials = SpecialTokens.of(special_tokens).tokens
        if merges_filepath is not None:
            return cls(*read_gpt2(Path(vocab_filepath), Path(merges_filepath), specials), specials)
        tokens, merges, own = read_tokenizer(Path(vocab_filepath))
        return cls(dict(enumerate(tokens)), merges, [*own, *(token for token in specials if token not in own)])


def _in_order_of_ids(vocab: Mapping[int, bytes]) -> list[bytes]:
    if not isinstance(vocab, Mapping):
        raise UserError(f"vocab must be a dict of bytes by id, but is of the type {type(vocab).__name__}.")
    if bad := [token for token in vocab.values() if not isinstance(token, bytes)]:
        raise UserError(f"the tokens of vocab must be bytes, but one is {bad[0]!r:.80}.")
    if set(vocab) != set(range(len(vocab))):
        raise UserError(f"the ids of vocab must be 0 to {len(vocab) - 1} without gaps, but are not.")
    return [vocab[i] for i in range(len(vocab))]


def _pair(merge: Pair) -> Pair:
    if not isinstance(merge, Sequence) or len(merge) != 2 or not all(isinstance(token, bytes) for token in merge):
        raise UserError(f"merges must be pairs of bytes, but one is {merge!r:.80}.")
    return merge[0], merge[1]


def _open_for_reading(path: Path) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        raise UserError(f"the file {path} cannot be read: {error.strerror}.") from None
