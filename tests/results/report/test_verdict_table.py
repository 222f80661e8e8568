"""The table counts every claim once, and writes numbers with three digits."""

import pytest

from lmablate.evidence import Verdict
from lmablate.results.report.verdict_table import count_sentence, format_number


def test_the_sentence_counts_every_claim_once(verdicts: list[Verdict]) -> None:
    numbers = [int(word) for word in count_sentence(verdicts).replace(";", " ").split() if word.isdigit()]
    assert numbers[0] == len(verdicts) == sum(numbers[1:])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "+0.0123"), (-1.0, "−1.00"), (123.4, "+123"), (1e-7, "+1.00·10^-7".replace("-7", "−7")),
        (float("inf"), "∞"), (float("-inf"), "−∞"), (float("nan"), ""),
    ],
)  # fmt: skip
def test_numbers_have_three_digits_and_a_true_minus(value: float, text: str) -> None:
    assert format_number(value) == text
