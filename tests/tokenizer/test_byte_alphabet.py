"""The byte alphabet loses nothing, and is GPT-2's."""

from lmablate.tokenizer.byte_alphabet import from_printable, to_printable


def test_the_byte_alphabet_is_a_bijection() -> None:
    every = bytes(range(256))
    assert from_printable(to_printable(every)) == every
    assert to_printable(b" \n!") == "ĠĊ!"
