"""The verdicts as lines on the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lmablate.errors import counted
from lmablate.results.report.calibration import NullTest, Pairing


def trust_lines(tests: Sequence[NullTest], pairs: Sequence[Pairing], verdicts: Path) -> Iterator[str]:
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
