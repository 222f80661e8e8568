"""The tokenizer's file: its JSON form, the check of a file that was read, and errors that name the file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.files import read_json
from lmablate.tokenizer.byte_alphabet import from_printable, to_printable
from lmablate.tokenizer.learn.ties import Pair
from lmablate.tokenizer.split import unicode_classes

# All of these must be in a file that `read_tokenizer` accepts.
_HEADER = {
    "format": "lmablate-tokenizer",
    "version": 1,
    "pattern": "gpt2",
    "unicode_classes": unicode_classes.VERSION,
}


def canonical_json(
    tokens: Sequence[bytes], ids: Mapping[bytes, int], merges: Sequence[Pair], special_tokens: Sequence[str]
) -> str:
    """Return the file's content, the only one that this tokenizer can have: its hash identifies the tokenizer."""
    content = _HEADER | {
        "tokens": [to_printable(token) for token in tokens],
        "merges": [[ids[left], ids[right]] for left, right in merges],
        "special_tokens": list(special_tokens),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def read_tokenizer(path: Path) -> tuple[list[bytes], list[Pair], list[str]]:
    """Return (tokens in the order of their ids, merges, special tokens) of a file.

    Raises:
        UserError: if the file cannot be read, or is not a tokenizer's.
    """
    content = read_object(path)
    if problem := _problem_in(content):
        raise UserError(f"the tokenizer file {path} is not valid: {problem}.")
    try:
        tokens = [from_printable(token) for token in content["tokens"]]
    except KeyError as error:
        raise UserError(f"the tokenizer file {path} is not valid: {error} stands for no byte.") from None
    merges = [(tokens[left], tokens[right]) for left, right in content["merges"]]
    return tokens, merges, content["special_tokens"]


def _problem_in(content: Any) -> str | None:
    """Return what is wrong with the shape of a file's content, as a clause; None if nothing is wrong."""
    if not isinstance(content, dict):
        return "it does not hold an object"
    if content and all(type(value) is int for value in content.values()):
        return "it is a vocabulary without merges, such as GPT-2's vocab.json: give its merges.txt, too"
    if isinstance(content.get("model"), dict):
        return "it is Hugging Face's: save its model, and give the files vocab.json and merges.txt"
    for key, value in _HEADER.items():
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
        and type(merge[0]) is type(merge[1]) is int
        and 0 <= merge[0] < count
        and 0 <= merge[1] < count
    )


def read_object(path: Path) -> Any:
    """Return the JSON value in a file of a tokenizer.

    Raises:
        UserError: if the file cannot be read, is too large, or is not JSON.
    """
    try:
        return read_json(path)
    except OSError as error:
        raise UserError(f"the file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"the tokenizer file {path} cannot be read as JSON: {error}.") from None


@contextmanager
def write_errors_named(path: str | Path) -> Iterator[None]:
    """Turn an error of the operating system in the block into a UserError which says that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"the file {path} cannot be written: {error.strerror}.") from None
