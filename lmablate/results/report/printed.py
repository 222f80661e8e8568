"""The verdicts as lines on the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from lmablate.errors import counted
from lmablate.evidence import Verdict
from lmablate.results.report import verdict_table
from lmablate.results.report.calibration import NullTest, Pairing
from lmablate.results.report.comparison import HEAD, Comparison
from lmablate.results.terminal import open_console

# Width of a table, in characters, if the output is not a terminal.
_WIDTH = 150


def print_findings(
    verdicts: Sequence[Verdict],
    comparison: Comparison | None,
    tests: Sequence[NullTest],
    pairs: Sequence[Pairing],
    path: Path,
) -> None:
    """Print the comparison of one experiment's arms, the verdicts, and how far these can be trusted.

    Args:
        verdicts: the verdicts on all claims.
        comparison: None for none.
        tests: the verdicts where nothing differs.
        pairs: the gain of pairing by seed.
        path: the table of verdicts, which lists the runs.
    """
    console = open_console(_WIDTH)
    if comparison is not None:
        console.print(_comparison_table(comparison))
    if verdicts:
        console.print(verdict_table.terminal_table(verdicts))
        for line in _trust_lines(tests, pairs, path):
            console.print(line, soft_wrap=True)


def _comparison_table(comparison: Comparison) -> Table:
    """Return the comparison for the terminal."""
    table = Table(title=comparison.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in HEAD:
        table.add_column(column, justify="left" if column == HEAD[0] else "right", no_wrap=True)
    for arm in comparison.arms:
        table.add_row(*arm.cells())
    return table


def _trust_lines(tests: Sequence[NullTest], pairs: Sequence[Pairing], verdicts: Path) -> Iterator[str]:
    """Yield lines about the runs behind the verdicts, and how far the verdicts can be trusted.

    Args:
        tests: the verdicts where nothing differs.
        pairs: the gain of pairing by seed.
        verdicts: the table of verdicts, which lists the runs.
    """
    yield f"The runs behind each verdict are on the page, and in the column runs of {verdicts}."
    for test in tests:
        rates = [f"{false} of {n} families of {size}" for size, (false, n) in test.families.items()]
        errors = f"; false verdicts: {', '.join(rates)}" if rates else ""
        yield f"A/A, {test.reading}: {test.kind} on {counted(test.on_all.sample.n, 'pair')}{errors}."
    for pair in pairs:
        yield f"{pair.experiment}: paired differences have {format_ratio(pair.ratio)} x the variance of unpaired ones."


def format_ratio(ratio: float) -> str:
    """Return a ratio of variances with two decimals; one that would be 0.00 is said to be small."""
    return f"{ratio:.2f}" if ratio >= 0.005 else "less than 0.01"
