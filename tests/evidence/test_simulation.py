"""A few cells of the tables of docs/evidence.md, simulated with fewer families, and what the tables promise."""

import re

import pytest

from scripts.simulate_decide import TRUTHS, row
from scripts.simulate_evidence import (
    DIVERGING,
    LIMITS,
    NOISES,
    PAGE,
    arms_at_the_margin,
    chosen_rates,
    differs,
    diverging_arms,
    equal_arms,
    error_rates,
    is_alike,
)
from tests.evidence.helpers import within_binomial_bound

FAMILIES = 150
# Noises under which a verdict may be false more often if it rests on normal tails.
TWO_MODES = {"bimodal"}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("n", [4, 10])
def test_equal_arms_are_rarely_said_to_differ_whatever_the_noise(noise, n):
    wrong, surely_wrong = error_rates(lambda rng: equal_arms(rng, noise, n), differs, FAMILIES)
    assert within_binomial_bound(round(surely_wrong * FAMILIES), FAMILIES, 0.05)
    assert noise in TWO_MODES or within_binomial_bound(round(wrong * FAMILIES), FAMILIES, 0.05)


@pytest.mark.parametrize(("counts_as", "limit"), DIVERGING.values(), ids=DIVERGING)
def test_equal_arms_that_diverge_equally_often_are_rarely_said_to_differ(counts_as, limit):
    wrong, _ = error_rates(lambda rng: diverging_arms(rng, counts_as, limit, 10), differs, FAMILIES)
    assert within_binomial_bound(round(wrong * FAMILIES), FAMILIES, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS, ids=[truth.words for truth in TRUTHS])
def test_judged_in_looks_few_families_have_a_false_verdict_and_few_intervals_miss(truth):
    wrong, missed, *_ = [float(cell) for cell in row(("normal", truth), 40).split("|")[3:-1]]
    assert within_binomial_bound(round(wrong * 40), 40, 0.05)
    assert within_binomial_bound(round(missed * 40), 40, 0.05)


@pytest.mark.parametrize("noise", NOISES)
def test_arms_that_differ_by_the_margin_are_rarely_said_to_be_alike(noise):
    wrong, surely_wrong = error_rates(lambda rng: arms_at_the_margin(rng, noise, 8), is_alike, FAMILIES)
    assert within_binomial_bound(round(surely_wrong * FAMILIES), FAMILIES, 0.05)
    assert noise in TWO_MODES or within_binomial_bound(round(wrong * FAMILIES), FAMILIES, 0.05)


@pytest.mark.parametrize("n", [4, 10])
def test_a_flat_arm_does_not_beat_a_sharp_one_by_the_choice_of_its_rate(n):
    wrong, _ = error_rates(lambda rng: chosen_rates(rng, n), lambda d: d.kind == "SUPPORTED", 1500)
    assert within_binomial_bound(round(wrong * 1500), 1500, 0.025)


def test_few_noises_have_limits():
    assert LIMITS.keys() < NOISES.keys()


def test_the_tables_of_the_page_keep_what_the_page_promises():
    page = PAGE.read_text()
    table = page[page.index("<!-- simulation -->") : page.index("<!-- end of simulation -->")]
    rows = re.findall(r"^\| ([^|]+) \|((?: [.\d]+ / [.\d]+ \|)+)$", table, re.MULTILINE)
    assert len(rows) >= 2 * len(NOISES) + len(DIVERGING)
    (families,) = (
        int(number.replace(",", "")) for number in re.findall(r"^([\d,]+) families a cell", table, re.MULTILINE)
    )
    for name, cells in rows:
        for wrong, surely_wrong in re.findall(r"([.\d]+) / ([.\d]+)", cells):
            assert within_binomial_bound(round(families * float(surely_wrong)), families, 0.05), name
            assert name in TWO_MODES or within_binomial_bound(round(families * float(wrong)), families, 0.05), name


def test_the_table_of_looks_keeps_what_the_page_promises():
    page = PAGE.read_text()
    table = page[page.index("<!-- looks -->") : page.index("<!-- end of looks -->")]
    rows = re.findall(r"^\| ([^|]+\|[^|]+) \| ([.\d]+) \| ([.\d]+) \|", table, re.MULTILINE)
    assert len(rows) >= 2 * len(TRUTHS)
    (families,) = map(int, re.findall(r"^([\d,]+) families a row", table, re.MULTILINE))
    for name, wrong, missed in rows:
        for rate in (wrong, missed):
            assert within_binomial_bound(round(families * float(rate)), families, 0.05), name
