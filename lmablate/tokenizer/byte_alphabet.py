"""GPT-2's way of writing any bytes as printable text: one character for each byte.

Bytes that are printable characters of Latin-1 are written as themselves. The other bytes, in order, are written as the
characters from U+0100 on, so a space is written "Ġ". Files of vocabularies, both our own and other programs', use it.
"""

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]

CHARACTER_OF_BYTE = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(0x100 + i) for i, byte in enumerate(_HIDDEN)}
# For str.translate, which is much faster than a look-up of each character. A byte is the character of Latin-1 that has
# its number; the characters of hidden bytes are no text that `to_printable` writes, so they become one beyond Latin-1.
_TO_BYTES = dict.fromkeys(_HIDDEN, "\uffff") | {ord(c): chr(byte) for byte, c in CHARACTER_OF_BYTE.items()}


def to_printable(token: bytes) -> str:
    """Return one printable character for each byte."""
    return token.decode("latin-1").translate(CHARACTER_OF_BYTE)


def from_printable(text: str) -> bytes:
    """Return the bytes that `to_printable` wrote as `text`.

    Raises:
        KeyError: if a character does not stand for a byte.
    """
    try:
        return text.translate(_TO_BYTES).encode("latin-1")
    except UnicodeEncodeError as error:
        raise KeyError(text[error.start]) from None
