"""GPT-2's way of writing any bytes as printable text: one character for each byte.

Bytes that are printable characters of Latin-1 are written as themselves. The other bytes, in order, are written as the
characters from U+0100 on, so a space is written "Ġ". Files of vocabularies, both our own and other programs', use it.
"""

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]

CHARACTER_OF_BYTE = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(0x100 + i) for i, byte in enumerate(_HIDDEN)}
_BYTE_OF_CHARACTER = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}


def to_printable(token: bytes) -> str:
    """Return one printable character for each byte."""
    return "".join(CHARACTER_OF_BYTE[byte] for byte in token)


def from_printable(text: str) -> bytes:
    """Return the bytes that `to_printable` wrote as `text`.

    Raises:
        KeyError: if a character does not stand for a byte.
    """
    return bytes(_BYTE_OF_CHARACTER[character] for character in text)
