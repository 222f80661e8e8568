"""The tokenizer's file: read as it was written, or refused with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from tests.tokenizer.helpers import SPECIAL


def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.from_files(tmp_path / "tokenizer.json")
    assert loaded.vocab == tokenizer.vocab
    assert loaded.merges == tokenizer.merges
    assert loaded.special_tokens == [SPECIAL]
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("It's here.") == tokenizer.encode("It's here.")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format must be"),
        ({"version": 2}, "version must be"),
        ({"unicode_classes": 99}, "unicode_classes must be"),
        ({"tokens": "abc"}, "tokens must be a list"),
        ({"tokens": ["a", 1]}, "tokens must be a list"),
        ({"tokens": ["\u4e2d"]}, "merges must be"),
        ({"merges": [[1]]}, "merges must be"),
        ({"merges": [[1, 99_999]]}, "merges must be"),
        ({"merges": [[1, True]]}, "merges must be"),
        ({"special_tokens": None}, "special_tokens must be"),
    ],
)
def test_a_damaged_file_is_refused_and_the_damage_named(
    tokenizer: Tokenizer, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Tokenizer.from_files(path)


def test_a_file_that_is_not_a_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="cannot be read"):
        Tokenizer.from_files(path)
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b"[]"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"tokenizer\.json"):
            Tokenizer.from_files(path)
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(UserError, match="larger than"):
        Tokenizer.from_files(path)
