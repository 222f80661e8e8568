"""Other programs' files: Hugging Face's tokenizer.json (out) and GPT-2's vocab.json with merges.txt (in)."""

import json
from collections.abc import Sequence
from pathlib import Path

from lmablate.errors import UserError
from lmablate.files import read_lines, write_bytes
from lmablate.tokenizer.byte_alphabet import from_printable, to_printable
from lmablate.tokenizer.file_format import read_object, write_errors_named
from lmablate.tokenizer.learn.ties import Pair
from lmablate.tokenizer.tokenizer import Tokenizer


def save_hugging_face(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write a tokenizer.json with which Hugging Face's `tokenizers` gives the same ids.

    The ids agree for all characters to which both give the same class: our classes are frozen, theirs follow the
    version of that library.

    Raises:
        UserError: if the file cannot be written.
    """
    specials = tokenizer.special_tokens
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(tokenizer, special) for special in specials],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": _ordinary_vocab(tokenizer),
            "merges": [[to_printable(left), to_printable(right)] for left, right in tokenizer.merges],
        },
    }
    with write_errors_named(path):
        write_bytes(Path(path), json.dumps(content, ensure_ascii=False, indent=1).encode())


def _ordinary_vocab(tokenizer: Tokenizer) -> dict[str, int]:
    specials = {special.encode() for special in tokenizer.special_tokens}
    return {to_printable(token): i for i, token in tokenizer.vocab.items() if token not in specials or len(token) == 1}


def _added_token(tokenizer: Tokenizer, special: str) -> dict:
    return {
        "id": tokenizer.token_id(special.encode()),
        "content": special,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def load_gpt2(
    vocab_path: str | Path, merges_path: str | Path, special_tokens: Sequence[str] | None = None
) -> Tokenizer:
    """Read GPT-2's two files. Nothing in lmablate calls this; it is for users who bring a tokenizer.

    Args:
        vocab_path: vocab.json, an object of ids by token. Tokens are in the printable form of `byte_alphabet`, but
            special tokens are written as they are.
        merges_path: merges.txt, one pair of tokens per line.
        special_tokens: all special tokens of vocab.json.

    Raises:
        UserError: if a file cannot be read or is of another form, or the tokenizer is not valid.
    """
    content = read_object(Path(vocab_path))
    if not isinstance(content, dict) or not all(type(i) is int for i in content.values()):
        raise UserError(f"the vocabulary {vocab_path} must be an object of tokens and ids, but is not.")
    specials = set(special_tokens or ())
    vocab = {
        token_id: token.encode() if token in specials else _spelled(token, vocab_path)
        for token, token_id in content.items()
    }
    return Tokenizer(vocab, _read_merges(Path(merges_path)), special_tokens)


def _read_merges(path: Path) -> list[Pair]:
    try:
        lines = read_lines(path, f"the file of merges {path}")
    except OSError as error:
        raise UserError(f"the merges {path} cannot be read: {error.strerror}.") from None
    if lines and lines[0].startswith("#version"):
        del lines[0]
    merges = []
    for line in filter(None, lines):
        pair = line.split(" ")
        if len(pair) != 2:
            raise UserError(f"each line of the merges {path} must hold two tokens, but one is {line!r}.")
        merges.append((_spelled(pair[0], path), _spelled(pair[1], path)))
    return merges


def _spelled(token: str, path: str | Path) -> bytes:
    try:
        return from_printable(token)
    except KeyError as error:
        raise UserError(f"token {token!r} of {path} has {error}, which stands for no byte.") from None
