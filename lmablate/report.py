"""Judge the claims and write the report: `python -m lmablate.report [KEY=VALUE ...]`; --help explains the keys."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console

from lmablate.config.key_value import run_key_value_command
from lmablate.evidence import Verdict, judge_claims, load_claims
from lmablate.files import write_bytes
from lmablate.results.report import verdict_table
from lmablate.results.report.calibration import NullTest, Pairing, null_tests, pairings
from lmablate.results.report.draw_all import draw_all
from lmablate.results.report.page import make_section, render_page
from lmablate.results.report.starts import load_audit
from lmablate.results.report.study import Study

# Width of the table, in characters, if the output is not a terminal.
WIDTH = 150


@dataclass
class Arguments:
    """Judge every claim by the exported runs; print the verdicts, and write them, all figures, and a page with both.

    Nothing is trained, and no network is needed. The same exports give the same bytes.
    """

    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    claims: Annotated[Path, "a folder with one yaml per claim"] = Path("conf/claim")
    figures: Annotated[Path, "the folder of the figures; each experiment has a folder in it"] = Path("analysis/figures")
    out: Annotated[Path, "the page"] = Path("analysis/report.html")
    verdicts: Annotated[Path, "the verdicts as a CSV table"] = Path("analysis/verdicts.csv")
    markdown: Annotated[Path | None, "also write the verdicts as a Markdown table to this file"] = None


def report(args: Arguments) -> None:
    """Print and write the verdicts, figures and page; the last line is the path of the page."""
    study, claims = Study.load(args.exports), load_claims(args.claims)
    verdicts = judge_claims(claims, study.run_table)
    tests, pairs = null_tests(study), pairings(study)
    print_verdicts(verdicts, tests, pairs)
    table = verdict_table.verdict_rows(verdicts).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    for path in (args.verdicts, args.out, *([args.markdown] if args.markdown else [])):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(args.verdicts, table.encode())
    if args.markdown:
        write_bytes(args.markdown, verdict_table.markdown_table(verdicts).encode())
    drawn = draw_all(args.exports, list(study.experiments), args.figures)
    sections = [
        make_section(data, load_audit(args.exports, name), drawn[name], verdicts)
        for name, data in study.in_order(claims).items()
    ]
    write_bytes(args.out, render_page(study, verdicts, sections, tests, pairs).encode())
    print(args.out)


def print_verdicts(verdicts: Sequence[Verdict], tests: Sequence[NullTest], pairs: Sequence[Pairing]) -> None:
    """Print the table of verdicts, the runs behind each, and how far the verdicts can be trusted."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(verdict_table.terminal_table(verdicts))
    for verdict in verdicts:
        console.print(f"{verdict.claim.id} runs  {verdict_table.format_hashes(verdict.runs) or 'none'}")
    for test in tests:
        rates = ", ".join(f"{false} of {n} families of {size}" for size, (false, n) in test.families.items())
        console.print(f"A/A, {test.reading}: {test.kind} on {test.on_all.sample.n} pairs; false verdicts: {rates}.")
    for pair in pairs:
        console.print(f"{pair.experiment}: paired differences have {pair.ratio:.2f} x the variance of unpaired ones.")


if __name__ == "__main__":
    run_key_value_command("lmablate.report", Arguments, report)
