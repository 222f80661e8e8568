"""Judge the claims and write the report: `python -m lmablate.report [KEY=VALUE ...]`; --help explains."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console

from lmablate.config.key_value import run_key_value_command
from lmablate.evidence import evaluate, load_claims
from lmablate.files import write_bytes
from lmablate.results.report import calibration, draw_all, page, starts, verdict_table
from lmablate.results.report.study import Study

WIDTH = 150
"""Of the table, in characters, where there is no terminal to say it."""


@dataclass
class Arguments:
    """Judges every claim by the exported runs, prints the verdicts, and writes them, all figures, and one page
    that shows both. It trains nothing and needs no network; the same exports give the same bytes."""

    exports: Annotated[Path, "where `lmablate.export` wrote the tables"] = Path("analysis/exports")
    claims: Annotated[Path, "a folder with one yaml per claim"] = Path("conf/claim")
    figures: Annotated[Path, "where the figures go, in a folder per experiment"] = Path("analysis/figures")
    out: Annotated[Path, "the page"] = Path("analysis/report.html")
    verdicts: Annotated[Path, "the verdicts as a table"] = Path("analysis/verdicts.csv")
    markdown: Annotated[Path | None, "the verdicts as a Markdown table, if wanted"] = None


def report(args: Arguments) -> None:
    """Prints and writes; the last line is the page's path."""
    study, claims = Study.load(args.exports), load_claims(args.claims)
    judged = evaluate(claims, study.runs)
    tests, pairs = calibration.null_tests(study), calibration.pairings(study)
    say(judged, tests, pairs)
    table = verdict_table.frame(judged).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    for path in (args.verdicts, args.out, *([args.markdown] if args.markdown else [])):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(args.verdicts, table.encode())
    if args.markdown:
        write_bytes(args.markdown, verdict_table.markdown(judged).encode())
    drawn = draw_all.draw_all(args.exports, list(study.experiments), args.figures)
    sections = [
        page.section(data, starts.stored(args.exports, name), drawn[name], judged)
        for name, data in study.in_order(claims).items()
    ]
    write_bytes(args.out, page.render(study, judged, sections, tests, pairs).encode())
    print(args.out)


def say(judged: list, tests: list[calibration.NullTest], pairs: list[calibration.Pairing]) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(verdict_table.terminal(judged))
    for verdict in judged:
        console.print(f"{verdict.claim.id} runs  {verdict_table.hashes(verdict.runs) or 'none'}")
    for test in tests:
        rates = ", ".join(f"{false} of {n} families of {size}" for size, (false, n) in test.families.items())
        console.print(f"A/A, {test.reading}: {test.kind} on {test.on_all.sample.n} pairs; false verdicts: {rates}.")
    for pair in pairs:
        console.print(f"{pair.experiment}: paired differences have {pair.ratio:.2f} x the variance of unpaired ones.")


if __name__ == "__main__":
    run_key_value_command("lmablate.report", Arguments, report)
