"""Special tokens are found leftmost first and, at one place, longest first."""

from hypothesis import given
from hypothesis import strategies as st

from lmablate.tokenizer.split.specials import SpecialTokens
from lmablate.tokenizer.split.text import padded
from tests.tokenizer.helpers import OVERLAPPING, TEXTS, UNTIMED


def find_by_definition(text: bytes, specials: list[bytes], search_end: int) -> list[list[int]]:
    found, at = [], 0
    while at < search_end:
        lengths = [len(special) for special in specials if text.startswith(special, at)]
        if lengths:
            found.append([at, at + max(lengths)])
        at += max(lengths, default=1)
    return found


@given(TEXTS, st.integers(0, 300))
@UNTIMED
def test_the_leftmost_and_longest_are_found(text: str, search_end: int) -> None:
    encoded, specials = text.encode(), SpecialTokens(OVERLAPPING)
    search_end = min(search_end, len(encoded))
    found = specials.find(padded(encoded), search_end, len(encoded)).tolist()
    assert found == find_by_definition(encoded, specials.encoded, search_end)


def test_many_special_tokens_in_a_row_are_all_found() -> None:
    specials = SpecialTokens(["ab"])
    assert specials.find(padded(b"ab" * 1000), 2000, 2000).tolist() == [[i, i + 2] for i in range(0, 2000, 2)]
