"""Text and YAML that people write, read by one rule."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lmablate.errors import UserError

# Bytes of text that are decoded at a time.
BLOCK_BYTES = 1 << 20
# Bytes. A larger YAML file is not read.
YAML_LIMIT = 64 * 1024


def text_blocks(source: io.BufferedIOBase, origin: str, errors: str = "strict") -> Iterator[str]:
    """Yield the text of `source`: UTF-8, without a byte order mark, and each line ends in a line feed.

    This is the one rule by which text of a user is read. A carriage return, alone or before a line feed, ends a line.

    Args:
        source: the bytes.
        origin: the file, perhaps with its key, for the message.
        errors: how to treat bytes that are not UTF-8, as in `bytes.decode`.

    Raises:
        UserError: if the text is not UTF-8; the message has the offset of the first bad byte.
    """
    characters = codecs.getincrementaldecoder("utf-8")(errors)
    lines = io.IncrementalNewlineDecoder(characters, translate=True)
    offset, started, last = 0, False, False
    while not last:
        held = len(characters.getstate()[0])
        block = source.read(BLOCK_BYTES)
        last = not block
        try:
            text = lines.decode(block, final=last)
        except UnicodeDecodeError as error:
            at = offset - held + error.start
            raise UserError(
                f"{origin} is not UTF-8: byte {at} does not belong to a character. Save it as UTF-8."
            ) from None
        offset += len(block)
        if text:
            yield text if started else text.removeprefix("\ufeff")
            started = True


def read_text(path: Path, origin: str = "") -> str:
    """Return the text of a file, read by the rule of `text_blocks`; `origin` stands for the path in the message."""
    with path.open("rb") as source:
        return "".join(text_blocks(source, origin or str(path)))


def read_lines(path: Path, origin: str = "") -> list[str]:
    """Return the lines of a text, without their ends. Only a line end ends one: a form feed is a character of it."""
    text = read_text(path, origin)
    return text.removesuffix("\n").split("\n") if text else []


class _PlainLoader(yaml.BaseLoader):
    """Reads every value of YAML as the text that was typed, so that no spelling has a meaning of its own.

    YAML's types are traps: `1e-3` is text, `1:30` is 90, `010` is 8 and `no` is false. Here the key decides what a
    value is. Aliases are refused, because they can make a small file expand without bound.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise yaml.YAMLError(f"key {twice!r} is given twice")
        return found


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file that a person writes: mappings, lists, and text as it was typed.

    Raises:
        UserError: if the file is larger than YAML_LIMIT, is not UTF-8 or not YAML, or gives a key twice.
        OSError: if it cannot be read.
    """
    if (size := path.stat().st_size) > YAML_LIMIT:
        raise UserError(f"{path}: such a file may have at most {YAML_LIMIT} bytes, not {size}.")
    text = read_text(path)
    try:
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: this is not valid YAML: {reason}.") from None
