"""The table counts every claim once, and writes numbers with three digits."""

import pytest

from lmablate.evidence import Claim, Kind, Verdict
from lmablate.results.report.verdict_table import (
    count_sentence,
    format_kind,
    format_n,
    format_number,
    markdown_table,
)


def test_the_sentence_counts_every_claim_once(verdicts: list[Verdict]) -> None:
    numbers = [
        int(word) for word in count_sentence(verdicts).partition(".")[0].replace(";", " ").split() if word.isdigit()
    ]
    assert numbers[0] == len(verdicts) == sum(numbers[1:])


def test_a_verdict_on_normal_tails_has_a_dagger_wherever_it_stands(verdicts: list[Verdict]) -> None:
    daggers = sum(verdict.normal_tails for verdict in verdicts)
    assert [format_kind(v).endswith(" †") for v in verdicts] == [v.normal_tails for v in verdicts]
    assert markdown_table(verdicts).count("** † |") == daggers
    assert (f" {daggers} of these verdicts (†) assume" in count_sentence(verdicts)) == (daggers > 0)


def test_a_row_says_how_many_of_its_runs_diverged() -> None:
    claim = Claim("C1", "text", "reported", "question", ())
    runs = ("a", "b", "c")
    assert format_n(Verdict(claim, Kind.REFUTED, "", n=4, diverged=2, runs=runs)) == "4, 2 of 3 runs diverged"
    assert format_n(Verdict(claim, Kind.REFUTED, "", n=4, runs=runs)) == "4"
    assert format_n(Verdict(claim, Kind.NOT_RUN, "")) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "+0.0123"), (-1.0, "−1.00"), (123.4, "+123"), (1e-7, "+1.00·10^-7".replace("-7", "−7")),
        (float("inf"), "∞"), (float("-inf"), "−∞"), (float("nan"), ""),
    ],
)  # fmt: skip
def test_numbers_have_three_digits_and_a_true_minus(value: float, text: str) -> None:
    assert format_number(value) == text
