"""The verdicts as a table on the terminal, as CSV and as Markdown, and how numbers are written in it."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from lmablate.errors import counted
from lmablate.evidence import Claim, Kind, Verdict
from lmablate.evidence.planning import MOST_SEEDS
from lmablate.files import read_text

COLOURS = {
    Kind.SUPPORTED: "green",
    Kind.REFUTED: "red",
    Kind.EQUIVALENT: "blue",
    Kind.PART_NEGLIGIBLE: "blue",
    Kind.UNDERPOWERED: "yellow",
    Kind.NOT_RUN: "white",
}
MARKDOWN_HEAD = "| | Claim, as it was reported | Verdict | Effect and interval | n | Seeds needed |"
# Characters that would be markup in a table of Markdown; `&` only at the start of the name of a character.
MARKUP = re.compile(r"[\\`*_<\[\]|]|&(?=#?\w+;)")
# Behind a verdict that rests on the assumption that seeds differ normally.
DAGGER = "†"
# The verb phrase of one claim of each kind, and of several.
MEANINGS = {
    Kind.SUPPORTED: "holds",
    Kind.REFUTED: "does not hold",
    Kind.EQUIVALENT: "makes a difference too small to matter",
    Kind.PART_NEGLIGIBLE: "fails because a part of it is too small to matter",
    Kind.UNDERPOWERED: "is open, because these runs do not decide it",
    Kind.NOT_RUN: "was not run",
}
PLURALS = {
    Kind.SUPPORTED: "hold",
    Kind.REFUTED: "do not hold",
    Kind.EQUIVALENT: "make a difference too small to matter",
    Kind.PART_NEGLIGIBLE: "fail because a part of them is too small to matter",
    Kind.UNDERPOWERED: "are open, because these runs do not decide them",
    Kind.NOT_RUN: "were not run",
}


def format_number(value: float, sign: bool = True) -> str:
    """Return three significant digits, with a true minus sign and, if `sign`, a plus sign; empty for NaN."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, e, exponent = f"{value:{'+' if sign else ''}#.3g}".partition("e")
    text = mantissa.rstrip(".") + (f"·10^{int(exponent)}" if e else "")
    return text.replace("-", "−")


def format_interval(verdict: Verdict) -> str:
    """Return the interval in words; empty if nothing was measured."""
    return "" if verdict.n == 0 else f"{format_number(verdict.low)} to {format_number(verdict.high)}"


def format_kind(verdict: Verdict) -> str:
    """Return the kind of verdict, with a dagger if it rests on the assumption that seeds differ normally."""
    return f"{verdict.kind} {DAGGER}" if verdict.normal_tails else str(verdict.kind)


def format_n(verdict: Verdict) -> str:
    """Return the number of pairs, and how many of the runs diverged; empty if nothing was measured."""
    diverged = f", {verdict.diverged} of {counted(len(verdict.runs), 'run')} diverged" if verdict.diverged else ""
    return f"{verdict.n}{diverged}" if verdict.n else ""


def format_seeds_needed(verdict: Verdict) -> str:
    """Return the number of seeds that would probably decide an open claim; a dash if it is decided or was not run."""
    if verdict.kind != Kind.UNDERPOWERED:
        return "–"
    if verdict.seeds_needed:
        return f"{verdict.seeds_needed:,}"
    return f"over {MOST_SEEDS}" if verdict.chances else "unknown"


def verdict_rows(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per claim, with the columns of `Verdict.row`."""
    return pd.DataFrame([verdict.row() for verdict in verdicts])


def count_sentence(verdicts: Sequence[Verdict]) -> str:
    """Return one sentence that counts the claims by kind of verdict."""
    counts = Counter(verdict.kind for verdict in verdicts)
    parts = [f"{counts[kind]} {(MEANINGS if counts[kind] == 1 else PLURALS)[kind]}" for kind in Kind if counts[kind]]
    listed = "; ".join(parts)
    tails = sum(verdict.normal_tails for verdict in verdicts)
    dagger = (
        f" {tails} of these verdicts ({DAGGER}) assume{'s' if tails == 1 else ''} that seeds differ normally."
        if tails
        else ""
    )
    return f"Of {counted(len(verdicts), 'claim')}, {listed}.{dagger}"


def terminal_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the table for the terminal."""
    table = Table(title=count_sentence(verdicts), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("id", "claim, as it was reported", "verdict"):
        table.add_column(column, no_wrap=column != "claim, as it was reported")
    for column in ("effect", "interval", "n", "seeds needed"):
        table.add_column(column, justify="right", no_wrap=True)
    for v in verdicts:
        badge, n = Text(format_kind(v), COLOURS[v.kind]), format_n(v)
        table.add_row(
            v.claim.id, v.claim.reported, badge, format_number(v.effect), format_interval(v), n, format_seeds_needed(v)
        )
    return table


def markdown_table(verdicts: Sequence[Verdict]) -> str:
    """Return the table for a README. An effect is positive if it points in the claimed direction."""
    lines = [MARKDOWN_HEAD, "|---|---|---|---|---:|---:|"]
    for v in verdicts:
        effect = f"{format_number(v.effect)} ({format_interval(v)})" if v.n else ""
        cells = (f"**{v.kind}**{f' {DAGGER}' if v.normal_tails else ''}", effect, format_n(v), format_seeds_needed(v))
        lines.append(f"{_markdown_start(v.claim)} {' | '.join(cells)} |")
    return "\n".join([count_sentence(verdicts), "", *lines, ""])


def _markdown_start(claim: Claim) -> str:
    """Return the beginning of a claim's row."""
    return f"| {claim.id} | {markdown_text(claim.reported)} |"


def markdown_text(text: str) -> str:
    """Return a text as Markdown prints it in a cell: it is text, and no markup, whatever is in it."""
    text = MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
    return text.replace("~", "\\~") if text.count("~") > 1 else text  # a single one is text


def is_csv_of(path: Path, claims: Sequence[Claim]) -> bool:
    """Return whether a file holds the verdicts, as CSV, of a study that has one of these claims."""
    try:
        rows = [*csv.DictReader(io.StringIO(read_text(path)))]
        found = {(row["id"], row["text"]) for row in rows if row["kind"] in [*Kind]}
    except (OSError, ValueError, KeyError, csv.Error):
        return False
    return any((claim.id, claim.text) in found for claim in claims)


def is_markdown_of(path: Path, claims: Sequence[Claim]) -> bool:
    """Return whether a file holds nothing but the verdicts, as Markdown, of a study that has one of these claims."""
    try:
        lines = read_text(path).split("\n")
    except (OSError, ValueError):
        return False
    return MARKDOWN_HEAD in lines[:3] and any(
        line.startswith(_markdown_start(claim)) for claim in claims for line in lines
    )
