"""The pair of files in which GPT-2's tokenizer and many others are kept: vocab.json and merges.txt.

The vocabulary is an object of ids by token, and the merges are one pair of tokens per line. In both, tokens are in the
printable form of `byte_alphabet`; only special tokens are written as they are.
"""

from collections.abc import Collection
from pathlib import Path

from lmablate.errors import UserError
from lmablate.files import read_lines
from lmablate.tokenizer.byte_alphabet import CHARACTER_OF_BYTE, from_printable, to_printable
from lmablate.tokenizer.file_format import read_object
from lmablate.tokenizer.learn.ties import Pair


def read_gpt2(vocab_path: Path, merges_path: Path, specials: Collection[str]) -> tuple[dict[int, bytes], list[Pair]]:
    """Return (the bytes of each id, merges) of a pair of files.

    Args:
        vocab_path: the vocabulary, vocab.json or encoder.json.
        merges_path: the merges, merges.txt or vocab.bpe.
        specials: which tokens of the vocabulary are special; it need not have all of them.

    Raises:
        UserError: if a file cannot be read or is of another form, or if the tokens are not made of bytes.
    """
    content = read_object(vocab_path)
    if isinstance(content, dict) and "merges" in content:
        raise UserError(f"{vocab_path} has merges of its own: give it without {merges_path}.")
    if not isinstance(content, dict) or not all(type(token_id) is int for token_id in content.values()):
        raise UserError(f"the vocabulary {vocab_path} must be an object of ids by token, such as GPT-2's vocab.json.")
    merges = _read_merges(merges_path)
    ordinary = {to_printable(left + right) for left, right in merges} | set(CHARACTER_OF_BYTE.values())
    as_they_are = set(specials) - ordinary
    vocab: dict[int, bytes] = {}
    for text, token_id in content.items():
        if token_id in vocab:
            raise UserError(f"the vocabulary {vocab_path} has the id {token_id} twice.")
        vocab[token_id] = text.encode() if text in as_they_are else _spelled(text, vocab_path)
    return vocab, merges


def _read_merges(path: Path) -> list[Pair]:
    try:
        lines = read_lines(path, f"the file of merges {path}")
    except OSError as error:
        raise UserError(f"the merges {path} cannot be read: {error.strerror}.") from None
    if lines and lines[0].startswith("#version"):
        del lines[0]
    merges: list[Pair] = []
    known = {bytes([byte]) for byte in range(256)}
    for line in filter(str.strip, lines):
        tokens = [_spelled(text, path) for text in line.split()]
        if len(tokens) != 2:
            raise UserError(f"each line of the merges {path} must hold two tokens, but one is {line!r:.80}.")
        if unknown := [token for token in tokens if token not in known]:
            raise UserError(
                f"the merges {path} are not those of a byte-level BPE: {unknown[0]!r} is neither a byte nor made by a "
                "merge before it."
            )
        merges.append((tokens[0], tokens[1]))
        known.add(tokens[0] + tokens[1])
    return merges


def _spelled(text: str, path: Path) -> bytes:
    try:
        return from_printable(text)
    except KeyError as error:
        raise UserError(
            f"token {text!r:.80} of {path} has {error}, which stands for no byte: if the token is special, name it in "
            "special_tokens; if not, this is no byte-level BPE."
        ) from None
