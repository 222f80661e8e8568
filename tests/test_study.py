"""The study's pages say what the committed exports say: their tables, and each number in their prose."""

import re

import pytest

from scripts.marked import replaced
from scripts.study_page import Arguments, tables_of
from tests.test_structure import ROOT

STUDY = ROOT / "docs" / "study.md"
# A number with decimals, in prose or in a table. A version such as 2.13.0 is none.
DECIMAL = re.compile(r"(?<![\w.])[+−-]?(\d*\.\d+)(?![\w.]*\d)")


@pytest.fixture(scope="module")
def tables() -> dict[str, list[str]]:
    return tables_of(Arguments())


@pytest.mark.slow
def test_the_tables_are_those_of_the_exports(tables: dict[str, list[str]]) -> None:
    page = STUDY.read_text(encoding="utf-8")
    for mark, lines in tables.items():
        assert replaced(page, mark, lines) == page, f"run python -m scripts.study_page: {mark} has changed"


def results_of_readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text[text.index("\n## Results\n") : text.index("\n## Speed\n")]


# Millions of parameters of the report's own models.
REPORTED = "5.7 21.5"
# What a script writes, and the rows of any table.
WRITTEN = re.compile(r"<!-- (?P<mark>\w+) -->.*?<!-- end of (?P=mark) -->|^\|[^\n]*$", re.DOTALL | re.MULTILINE)


def split(text: str) -> tuple[str, str]:
    """Return the prose of a page, and its tables with all else that a script writes between marks."""
    return WRITTEN.sub("", text), "\n".join(found[0] for found in WRITTEN.finditer(text))


def unknown_numbers(prose: str, tables: str) -> list[str]:
    """Return the numbers with decimals in the prose that no number of the tables rounds to."""
    known = [float(number) for number in DECIMAL.findall(tables)]
    found = DECIMAL.findall(prose)
    return [
        number
        for number in found
        if all(abs(float(number) - value) > 0.5001 * 10 ** -len(number.split(".")[1]) for value in known)
    ]


def test_the_readme_counts_the_claims_as_the_tables_do() -> None:
    counts = re.findall(r"(\d+) of (\d+) claims are decided: ", STUDY.read_text(encoding="utf-8"))
    (field_decided, field_tested), (ladder_decided, ladder_tested), (decided, tested) = counts
    prose = " ".join(results_of_readme().split())
    assert f"{field_tested} have been tested so far, and {field_decided} are decided" in prose
    assert f"Of {ladder_tested} such claims {ladder_decided} are decided" in prose
    assert f"So {decided} of {tested} claims are decided" in prose


@pytest.mark.parametrize("page", ["README.md", "docs/study.md"])
def test_each_number_in_the_prose_stands_in_a_table(page: str) -> None:
    study = STUDY.read_text(encoding="utf-8")
    text = study if page == "docs/study.md" else results_of_readme()
    assert unknown_numbers(split(text)[0], split(study + results_of_readme())[1] + REPORTED) == []


def test_a_number_that_no_table_has_is_found() -> None:
    assert unknown_numbers("a lead of 0.45 nats, not 0.31", "| +0.447 | 12 |") == ["0.31"]
    assert unknown_numbers("with torch 2.13.0, 3.5 %", "| 3.49 |") == []
