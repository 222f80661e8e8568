"""Judge the claims and write the report: `python -m lmablate.report [KEY=VALUE ...]`; --help explains the keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.evidence import judge_claims
from lmablate.files import write_bytes
from lmablate.results.report.calibration import null_tests, pairings
from lmablate.results.report.draw_all import draw_all
from lmablate.results.report.outputs import Outputs
from lmablate.results.report.page import make_section, render_page
from lmablate.results.report.printed import print_findings
from lmablate.results.report.scope import Scope
from lmablate.results.report.starts import load_audit


@dataclass
class Arguments:
    """Judge every claim by the exported runs; print the verdicts, and write them, all figures, and a page with both.

    Nothing is trained, and no network is needed. The same exports give the same bytes. A file that exists is replaced
    only if it belongs to the same study.

    With experiment=NAME it is one experiment's report: its runs are exported first, and the results are beside the page
    as CSV, Markdown and LaTeX. In a project, title and question are those of its pyproject.toml.

      python -m lmablate.report
          all that is in analysis/exports
      python -m lmablate.report experiment=mine reference=model/pos=rope notebook=true
          analysis/mine.html, mine.results.csv, .md and .tex, and mine.ipynb
    """

    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    claims: Annotated[
        Path | None, "a folder with one yaml per claim; null stands for conf/claim, of the project if there is one"
    ] = None
    out: Annotated[Path | None, "the page; null stands for analysis/report.html, or analysis/NAME.html"] = None
    verdicts: Annotated[Path | None, "the verdicts as a CSV table; null stands for a file beside out"] = None
    figures: Annotated[Path | None, "the folder of the figures; null stands for figures beside out"] = None
    markdown: Annotated[Path | None, "also write the verdicts as a Markdown table to this file"] = None
    overwrite: Annotated[bool, "also replace files that do not belong to this study"] = False
    experiment: Annotated[str, "one experiment, or all"] = "all"
    runs_dir: Annotated[Path | None, "the folder of its runs; null stands for runs, if they are there"] = None
    reference: Annotated[str | None, "the arm that the others are compared with; null: the first"] = None
    notebook: Annotated[bool, "also write a notebook of the experiment beside the page"] = False


def report(args: Arguments) -> None:
    """Write the verdicts, figures and page, then print the verdicts; the last line is the path of the page."""
    scope = Scope.typed(args.experiment, args.runs_dir, args.reference, args.notebook)
    page = args.out or scope.page
    outputs = Outputs.beside(page, args.verdicts, args.figures, args.markdown, scope.is_single, args.notebook)
    study, claims = scope.load(args.exports, args.overwrite), scope.claims(args.claims)
    commands, comparison = scope.commands(study), scope.compare(study)
    notebook = scope.notebook(args.exports, claims, commands) if args.notebook else None
    outputs.refuse_foreign(claims, study.experiments, args.overwrite, notebook)
    verdicts = judge_claims(claims, study.run_table)
    audits = {name: load_audit(args.exports, name) for name in study.experiments}
    outputs.write_tables(verdicts, comparison, notebook)
    drawn = draw_all(args.exports, list(study.experiments), outputs.figures)
    sections = [
        make_section(data, audits[name], drawn[name], verdicts, commands, comparison)
        for name, data in study.in_order(claims).items()
    ]
    tests, pairs = null_tests(study), pairings(study)
    write_bytes(page, render_page(study, verdicts, sections, tests, pairs, scope.about()).encode())
    print_findings(verdicts, comparison, tests, pairs, outputs.verdicts)
    print(page)


if __name__ == "__main__":
    run_key_value_command("lmablate.report", Arguments, report)
