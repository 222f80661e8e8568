"""Judge the claims and write the report: `python -m lmablate.report [KEY=VALUE ...]`; --help explains the keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.config.project import claims_folder
from lmablate.evidence import judge_claims, load_claims
from lmablate.files import write_bytes
from lmablate.results.report import verdict_table
from lmablate.results.report.calibration import null_tests, pairings
from lmablate.results.report.draw_all import draw_all
from lmablate.results.report.outputs import Outputs
from lmablate.results.report.page import make_section, render_page
from lmablate.results.report.printed import trust_lines
from lmablate.results.report.starts import load_audit
from lmablate.results.report.study import Study
from lmablate.results.terminal import open_console

# Width of the table, in characters, if the output is not a terminal.
WIDTH = 150


@dataclass
class Arguments:
    """Judge every claim by the exported runs; print the verdicts, and write them, all figures, and a page with both.

    Nothing is trained, and no network is needed. The same exports give the same bytes. A file that exists is replaced
    only if it belongs to the same study.
    """

    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    claims: Annotated[
        Path | None, "a folder with one yaml per claim; null stands for conf/claim, of the project if there is one"
    ] = None
    out: Annotated[Path, "the page"] = Path("analysis/report.html")
    verdicts: Annotated[Path | None, "the verdicts as a CSV table; null stands for verdicts.csv beside out"] = None
    figures: Annotated[Path | None, "the folder of the figures; null stands for figures beside out"] = None
    markdown: Annotated[Path | None, "also write the verdicts as a Markdown table to this file"] = None
    overwrite: Annotated[bool, "also replace files that do not belong to this study"] = False


def report(args: Arguments) -> None:
    """Write the verdicts, figures and page, then print the verdicts; the last line is the path of the page."""
    outputs = Outputs.beside(args.out, args.verdicts, args.figures, args.markdown)
    study, claims = Study.load(args.exports), load_claims(args.claims or claims_folder())
    outputs.refuse_foreign(claims, study.experiments, args.overwrite)
    verdicts = judge_claims(claims, study.run_table)
    audits = {name: load_audit(args.exports, name) for name in study.experiments}
    outputs.write_tables(verdicts)
    drawn = draw_all(args.exports, list(study.experiments), outputs.figures)
    sections = [
        make_section(data, audits[name], drawn[name], verdicts) for name, data in study.in_order(claims).items()
    ]
    tests, pairs = null_tests(study), pairings(study)
    write_bytes(outputs.page, render_page(study, verdicts, sections, tests, pairs).encode())
    console = open_console(WIDTH)
    console.print(verdict_table.terminal_table(verdicts))
    for line in trust_lines(tests, pairs, outputs.verdicts):
        console.print(line, soft_wrap=True)
    print(outputs.page)


if __name__ == "__main__":
    run_key_value_command("lmablate.report", Arguments, report)
