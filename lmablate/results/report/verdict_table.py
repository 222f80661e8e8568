"""The verdicts as a table: on the terminal, as CSV and as Markdown; and the numbers' spelling."""

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.table import Table

from lmablate.evidence import Kind, Verdict

COLOURS = {
    Kind.SUPPORTED: "green",
    Kind.REFUTED: "red",
    Kind.EQUIVALENT: "blue",
    Kind.UNDERPOWERED: "yellow",
    Kind.NOT_RUN: "white",
}
MEANINGS = {
    Kind.SUPPORTED: "holds",
    Kind.REFUTED: "does not hold",
    Kind.EQUIVALENT: "makes a difference too small to matter",
    Kind.UNDERPOWERED: "is open, for these runs do not decide it",
    Kind.NOT_RUN: "was not run",
}
PLURALS = {
    Kind.SUPPORTED: "hold",
    Kind.REFUTED: "do not hold",
    Kind.EQUIVALENT: "make a difference too small to matter",
    Kind.UNDERPOWERED: "are open, for these runs do not decide them",
    Kind.NOT_RUN: "were not run",
}


def number(value: float, sign: bool = True) -> str:
    """Three significant digits with a true minus sign; empty for NaN."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, e, exponent = f"{value:{'+' if sign else ''}#.3g}".partition("e")
    text = mantissa.rstrip(".") + (f"·10^{int(exponent)}" if e else "")
    return text.replace("-", "−")


def interval(verdict: Verdict) -> str:
    return "" if verdict.n == 0 else f"{number(verdict.low)} to {number(verdict.high)}"


def seeds(verdict: Verdict) -> str:
    """The seeds that would decide an open claim; a dash where it is decided."""
    if verdict.kind != Kind.UNDERPOWERED:
        return "–"
    return f"{verdict.seeds_needed:,}" if verdict.seeds_needed else "none will do"


def hashes(runs: Sequence[str]) -> str:
    """The runs' ids without what they say of the configuration: their hashes."""
    return " ".join(sorted(run.rsplit("-", 1)[-1] for run in runs))


def frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a claim, with everything that `Verdict.row` has."""
    return pd.DataFrame([verdict.row() for verdict in verdicts])


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many claims came out how, in one sentence."""
    counts = Counter(verdict.kind for verdict in verdicts)
    parts = [f"{counts[kind]} {(MEANINGS if counts[kind] == 1 else PLURALS)[kind]}" for kind in Kind if counts[kind]]
    listed = "; ".join(parts)
    return f"Of {len(verdicts)} claim{'s' * (len(verdicts) != 1)}, {listed}."


def terminal(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title=summary(verdicts), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("id", "claim, as it was reported", "verdict"):
        table.add_column(column, no_wrap=column != "claim, as it was reported")
    for column in ("effect", "interval", "n", "seeds needed"):
        table.add_column(column, justify="right", no_wrap=True)
    for v in verdicts:
        badge, n = f"[{COLOURS[v.kind]}]{v.kind}[/]", str(v.n or "")
        table.add_row(v.claim.id, v.claim.reported, badge, number(v.effect), interval(v), n, seeds(v))
    return table


def markdown(verdicts: Sequence[Verdict]) -> str:
    """The table for a README. Effects are positive on the claimed side."""
    lines = [
        "| | Claim, as it was reported | Verdict | Effect and interval | n | Seeds needed |",
        "|---|---|---|---|---:|---:|",
    ]
    for v in verdicts:
        effect = f"{number(v.effect)} ({interval(v)})" if v.n else ""
        cells = (v.claim.id, v.claim.reported, f"**{v.kind}**", effect, str(v.n or ""), seeds(v))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([summary(verdicts), "", *lines, ""])
