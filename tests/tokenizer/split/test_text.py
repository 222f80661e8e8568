"""Text becomes UTF-8, or is refused."""

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import Tokenizer
from lmablate.tokenizer.split.text import TextStream


def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="character 1 is a lone surrogate"):
        tokenizer.encode("a\ud800")


def test_a_stream_of_strings_gives_their_bytes_to_buffers_of_any_size() -> None:
    for size in (1, 3, 100):
        stream, read = TextStream(["é", "", "abc"]), b""
        buffer = bytearray(size)
        while count := stream.readinto(memoryview(buffer)):
            read += buffer[:count]
        assert read == "éabc".encode()
