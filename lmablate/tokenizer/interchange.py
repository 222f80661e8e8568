"""Another program's file: Hugging Face's tokenizer.json."""

import json
from pathlib import Path

from lmablate.files import write_bytes
from lmablate.tokenizer.byte_alphabet import to_printable
from lmablate.tokenizer.file_format import write_errors_named
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
