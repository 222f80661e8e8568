"""The study as one HTML page that loads nothing from elsewhere."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.colors import to_hex

from lmablate.errors import counted
from lmablate.evidence import Kind, Verdict
from lmablate.results.descriptions import describe_experiment
from lmablate.results.exports import Exported
from lmablate.results.frames import distinct_values, get_column, select_rows
from lmablate.results.plots import summary
from lmablate.results.plots.arms import Arms
from lmablate.results.plots.style import factor_name
from lmablate.results.report import forest, plain_words, verdict_table
from lmablate.results.report.calibration import FEWEST_SEEDS, NullTest, Pairing
from lmablate.results.report.comparison import HEAD, Comparison
from lmablate.results.report.draw_all import Picture
from lmablate.results.report.printed import format_ratio
from lmablate.results.report.rates import RateCurves, rate_curves
from lmablate.results.report.starts import find_confounds_in_exports
from lmablate.results.report.study import Study

HERE = Path(__file__).parent
# The numbers in a verdict's sentence, and the minus signs among them.
NUMBERS = re.compile(r"effect \S+, \d+% interval \S+ to \S+,")
MINUS = re.compile(r"(?<= )-(?=\d)")


@dataclass(frozen=True)
class About:
    """What the page says of itself.

    Attributes:
        title: its title.
        question: what is to be found out; empty for none.
        commands: those that make the page, once everything is trained.
        family: a sentence about the claims that are judged together, if they are not all.
    """

    title: str = "Which parts of a small Transformer matter, and how sure are we?"
    question: str = ""
    commands: Sequence[str] = ("python -m lmablate.export experiment=all", "python -m lmablate.report")
    family: str = ""


@dataclass(frozen=True)
class Section:
    """The part of the page about one experiment.

    Attributes:
        name: the experiment.
        description: a heading.
        verdicts: the verdicts that rest on it.
        confounds: one sentence for each confound among its arms.
        sizes: size and length of its runs: a number or a range, by unit.
        arms: its results, one row per arm.
        factor: what the colours of the pictures stand for; empty if nothing varies.
        colours: (name of an arm, its colour) of the pictures, for the legend that they have in common.
        pictures: the figures, the overview first.
        rates: loss by learning rate; None if the rate does not vary.
        runs: one row per run.
        command: the commands that train it, one per line.
        scale: the option of the group `scale`; empty if unknown.
        machine: the processor of the audit; empty if unknown.
        comparison: its arms compared with one of them; None for no such table.
    """

    name: str
    description: str
    verdicts: list[Verdict]
    confounds: list[str]
    sizes: Mapping[str, str]
    arms: pd.DataFrame
    factor: str
    colours: list[tuple[str, str]]
    pictures: Sequence[Picture]
    rates: RateCurves | None
    runs: pd.DataFrame
    command: str
    scale: str
    machine: str
    comparison: Comparison | None = None


def make_section(
    data: Exported,
    audit: Mapping[str, Any],
    pictures: Sequence[Picture],
    verdicts: Sequence[Verdict],
    commands: Sequence[str] = (),
    comparison: Comparison | None = None,
) -> Section:
    """Return the section about one experiment.

    Args:
        data: the experiment.
        audit: the findings of `lmablate.audit`. If they are empty, confounds are found in how the runs started.
        pictures: its figures.
        verdicts: the verdicts on all claims.
        commands: those that train its runs, as these recorded them; none if that is not known.
        comparison: its arms compared with one of them.
    """
    arms = Arms(data)
    return Section(
        name=data.experiment,
        description=describe_experiment(data.experiment),
        verdicts=[v for v in verdicts if data.experiment in v.claim.experiments],
        confounds=audit["warnings"] if audit else find_confounds_in_exports(data),
        sizes=_run_sizes(data.runs),
        arms=_without_empty_columns(summary(data)),
        factor=factor_name(arms.factor),
        colours=[(name, to_hex(arms.colours[level])) for level, name in arms.names.items()],
        pictures=pictures,
        rates=rate_curves(data),
        runs=data.runs,
        command="\n".join(commands) or audit.get("command", f"python -m lmablate.train experiment={data.experiment}"),
        scale=audit.get("scale") or "",
        machine=audit.get("machine", ""),
        comparison=comparison,
    )


def _without_empty_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, (table != "").any()]


def _run_sizes(runs: pd.DataFrame) -> dict[str, str]:
    """Return size and length of the runs, each as a number or a range, by unit."""
    units = {"parameters": "parameters", "tokens": "training tokens each", "max_steps": "steps"}
    sizes = {}
    for column, unit in units.items():
        values = get_column(runs, column).dropna()
        if len(values):
            low, high = int(values.min()), int(values.max())
            sizes[unit] = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return sizes


def _foundation(finished: pd.DataFrame, verdicts: Sequence[Verdict]) -> str:
    """Return the sentence about the runs on which the verdicts, or only the results, rest."""
    read = {run for verdict in verdicts for run in verdict.runs}
    if read:
        finished = select_rows(finished, finished["run"].isin([*read]))
    sizes = _run_sizes(finished)
    parameters = f" of models with {sizes['parameters']} parameters" if "parameters" in sizes else ""
    tokens = sizes.get("training tokens each")
    trained = f"{',' if parameters else ''} trained on {tokens} tokens each" if tokens else ""
    what = "verdicts" if verdicts else "results"
    return f"The {what} rest on {counted(len(finished), 'finished run')}{parameters}{trained}."


def _known(finished: pd.DataFrame, fact: str) -> list[str]:
    """Return the values of a fact of the finished runs, in order of appearance."""
    return [str(value) for value in distinct_values(get_column(finished, fact))] or ["unknown"]


def render_page(
    study: Study,
    verdicts: Sequence[Verdict],
    sections: Sequence[Section],
    tests: Sequence[NullTest],
    pairs: Sequence[Pairing],
    about: About | None = None,
) -> str:
    """Return the page's HTML. The same arguments give the same bytes.

    Args:
        study: all experiments.
        verdicts: the verdicts on all claims.
        sections: one for each experiment, in order.
        tests: the verdicts where nothing differs.
        pairs: the gain of pairing by seed in each experiment.
        about: title, question and commands of the page; None for those of lmablate's own study.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": verdict_table.format_number,
        "minus": lambda text: NUMBERS.sub(lambda numbers: MINUS.sub("−", numbers[0]), text),
        "ratio": format_ratio,
        "counted": counted,
        "slug": lambda kind: kind.lower().partition(":")[0].replace(" ", "-"),
    }
    by_kind = {kind: [v for v in verdicts if v.kind == kind] for kind in Kind}
    return environment.get_template("page.html").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        about=about or About(),
        foundation=_foundation(study.finished, verdicts),
        fingerprints=_known(study.finished, "data_fingerprint"),
        code_versions=_known(study.finished, "code_version"),
        fewest_seeds=FEWEST_SEEDS,
        verdicts=verdicts,
        by_kind={kind: members for kind, members in by_kind.items() if members},
        meanings=verdict_table.MEANINGS,
        summary=verdict_table.count_sentence(verdicts) if verdicts else "",
        forest=forest,
        interval=verdict_table.format_interval,
        seeds=verdict_table.format_seeds_needed,
        n=verdict_table.format_n,
        dagger=verdict_table.DAGGER,
        sections=sections,
        tests=tests,
        pairs=pairs,
        plain=plain_words.plain_sentence,
        mark=plain_words.part_mark,
        marks=plain_words.MARKS,
        in_words=plain_words.label_in_words,
        compared=HEAD,
    )
