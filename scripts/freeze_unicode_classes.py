"""Write lmablate/tokenizer/split/unicode_classes.txt: which code points are letters, numbers and whitespace.

The classes of Unicode change with every release, and `regex`, Hugging Face and CPython each follow a release of their
own. A tokenizer must give the same ids in ten years, so we freeze the classes of one version of `regex`. To run this
script with a newer `regex` changes the meaning of every tokenizer: raise VERSION here and in
lmablate/tokenizer/split/unicode_classes.py, since saved tokenizers refer to it.

    python scripts/freeze_unicode_classes.py
"""

from collections.abc import Iterator
from pathlib import Path

import regex

VERSION = 1
OUTPUT = Path(__file__).parents[1] / "lmablate" / "tokenizer" / "split" / "unicode_classes.txt"
PATTERNS = {"L": r"\p{L}+", "N": r"\p{N}+", "W": r"\s+"}


def ranges() -> Iterator[tuple[int, int, str]]:
    """Yield (first code point, last code point, class letter) of every run of letters, numbers or whitespace."""
    surrogates = range(0xD800, 0xE000)
    code_points = [point for point in range(0x110000) if point not in surrogates]
    text = "".join(map(chr, code_points))
    for letter, pattern in PATTERNS.items():
        for match in regex.finditer(pattern, text):
            yield code_points[match.start()], code_points[match.end() - 1], letter


def main() -> None:
    lines = [f"# version {VERSION}; L letters, N numbers, W whitespace, as regex {regex.__version__} has them"]
    lines += [f"{letter} {first:X} {last:X}" for first, last, letter in sorted(ranges())]
    OUTPUT.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{OUTPUT}: {len(lines) - 1} ranges")


if __name__ == "__main__":
    main()
