"""Write the tables of docs/study.md from exports: every part of every claim, what is open, which part of a model
matters most, the field's claims, leads over sizes, a stack part by part, what the runs cost.

    python -m scripts.study_page                         from analysis, into docs/study.md
    python -m scripts.study_page runs_dir=runs           also the core-hours, from the runs
    python -m scripts.study_page exports=DIR second=null field=null ladder=null stack=null page=null
                                                         only print them, for an older study

`tests/test_study.py` compares the tables with the exports, and looks up every decimal number of the prose in them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd

from lmablate.config.key_value import run_key_value_command
from lmablate.config.schema import CONF
from lmablate.errors import counted
from lmablate.evidence import Verdict, judge_claims, load_claims
from lmablate.results.report.study import Study
from lmablate.results.report.verdict_table import markdown_table
from scripts.machine import describe
from scripts.marked import replaced
from scripts.study_stack import stack_tables
from scripts.study_tables import (
    effects_table,
    field_tables,
    ladder_tables,
    open_table,
    parts_table,
    sizes_table,
    tuned_table,
)

ROOT = Path(__file__).resolve().parents[1]
# The experiments that cross parts.
FACTORIALS = ("factorial_blocks", "factorial")
# In hours: more than the start and the evaluations of any run here.
PAUSE = 0.1


@dataclass
class Arguments:
    """Write the tables of docs/study.md from exports."""

    exports: Annotated[Path, "the folder of the exports"] = ROOT / "analysis" / "exports"
    second: Annotated[
        Path | None, "the folder of what was asked later: factorials, conf/claim/again; null for none"
    ] = ROOT / "analysis" / "second" / "exports"
    field: Annotated[Path | None, "the folder of the exports for conf/claim/field; null for none"] = (
        ROOT / "analysis" / "field" / "exports"
    )
    ladder: Annotated[Path | None, "the folder of the exports for conf/claim/ladder; null for none"] = (
        ROOT / "analysis" / "ladder" / "exports"
    )
    stack: Annotated[Path | None, "the folder of the exports of a stack, part by part; null for none"] = (
        ROOT / "analysis" / "stack" / "exports"
    )
    page: Annotated[Path | None, "the page whose tables are replaced; null prints them only"] = (
        ROOT / "docs" / "study.md"
    )
    runs_dir: Annotated[Path | None, "the folder of the runs, for the core-hours; null leaves that table as it is"] = (
        None
    )
    costs: Annotated[str, "the mark of the table of core-hours: the runs of a study may be on several machines"] = (
        "costs"
    )


def costs_table(runs_dir: Path) -> Iterator[str]:
    """Yield a line for each experiment: the core-hours of its runs, which share no core.

    They are those from the start of a run to its end. A run that took twice as long as its steps, and PAUSE longer,
    stood still in between, and counts by its steps.
    """
    rows: list[dict[str, object]] = []
    interrupted = 0
    for folder in runs_dir.iterdir():
        if (folder / "status.json").is_file():
            ended = json.loads((folder / "status.json").read_text())["heartbeat"]
            hours = (ended - (folder / "config.yaml").stat().st_mtime) / 3600
            trained = _hours_of_steps(folder / "metrics.jsonl")
            if hours > max(2 * trained, trained + PAUSE):
                hours, interrupted = trained, interrupted + 1
            rows += [{"experiment": place.name, "run": folder.name, "hours": hours}
                     for place in (folder / "experiments").iterdir()]  # fmt: skip
    table = pd.DataFrame(rows)
    yield "| experiment | runs | core-hours |"
    yield "|---|---:|---:|"
    for name, runs in table.groupby("experiment"):
        yield f"| {name} | {len(runs)} | {runs['hours'].sum():.2f} |"
    once = table.drop_duplicates("run")
    yield ""
    yield f"Each run counted once: {len(once)} runs, {once['hours'].sum():.2f} core-hours. {describe()}."
    if interrupted:
        yield f"{counted(interrupted, 'run')} stood still in between, and count by the time of their steps."


def _hours_of_steps(metrics: Path) -> float:
    """Return the hours that the steps of a run took, without its evaluations."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    trained = [(row["tokens"], row["tokens_per_s"]) for row in rows if "tokens_per_s" in row]
    return sum((after - before) / speed for (before, _), (after, speed) in pairwise(trained)) / 3600


def tables_of(args: Arguments) -> dict[str, list[str]]:
    """Return the lines of each table that exports decide, by its mark in the page."""
    study = Study.load(args.exports)
    verdicts = judge_claims(load_claims(CONF / "claim"), study.run_table)
    tables = {"parts": [*parts_table(verdicts)], "open": [*open_table(verdicts)], "tuned": [*tuned_table()]}
    again: list[Verdict] = []
    if args.second is not None:
        later = Study.load(args.second)
        again = judge_claims(load_claims(CONF / "claim" / "again"), later.run_table)
        tables["again"] = [*markdown_table(again).splitlines(), "", *parts_table(again)]
        tables |= {name: [*effects_table(later, name)] for name in FACTORIALS}
        study = Study({**study.experiments, **later.experiments})
    tables["sizes"] = [*sizes_table(study, [*verdicts, *again])]
    for folder, tables_in in ((args.field, field_tables), (args.ladder, ladder_tables), (args.stack, stack_tables)):
        if folder is not None:
            tables |= dict(tables_in(folder))
    return tables


def study_page(args: Arguments) -> None:
    """Print the tables, and write them into the page."""
    tables = tables_of(args)
    if args.runs_dir is not None:
        tables[args.costs] = [*costs_table(args.runs_dir)]
    for mark, lines in tables.items():
        print(f"\n{mark}\n")
        print("\n".join(lines))
    if args.page is not None:
        text = args.page.read_text(encoding="utf-8")
        for mark, lines in tables.items():
            text = replaced(text, mark, lines)
        args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_key_value_command("scripts.study_page", Arguments, study_page)
