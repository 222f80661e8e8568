"""The arms of an experiment as a table: final loss with its spread, and difference to a reference arm.

Runs with the same seed are a pair, so a difference is the mean of the pairs' differences, with its t interval.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lmablate.errors import UserError
from lmablate.evidence import Sample
from lmablate.evidence.samples import UNLIMITED, sample_with_diverged
from lmablate.evidence.tables import FactorValue, name_of
from lmablate.files import read_text
from lmablate.results.exports import Exported
from lmablate.results.exports.recorded import printable
from lmablate.results.frames import group_rows
from lmablate.results.outcomes import counted_losses, has_diverged
from lmablate.results.plots.style import level_name, sort_levels
from lmablate.results.report.verdict_table import format_number, markdown_text

# The number that arms are compared by.
METRIC = "val/loss"
# Coverage of the intervals.
LEVEL = 0.95
HEAD = ("arm", "n", "val/loss (nats per token)", "pairs", "difference", "95% interval")
CSV_HEAD = (
    "experiment", "arm", "n", "mean", "sd", "reference", "pairs", "difference", "difference_sd", "low", "high",
    "diverged",
)  # fmt: skip
ENDINGS = (".results.csv", ".results.md", ".results.tex")
# Characters that mean something to LaTeX, and what stands for them.
_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$",
    "∞": r"$\infty$", "<": r"$<$", ">": r"$>$", **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip
_POWER = re.compile(r"·10\\textasciicircum{}([$\-\d]+)")


@dataclass(frozen=True)
class ComparedArm:
    """One row.

    Attributes:
        name: the arm in words.
        typed: the arm as a user types it: model/pos=rope.
        losses: the final losses of its runs that finished, or diverged and learnt nothing, in nats per token.
        difference: its loss minus that of the reference with the same seed; None for the reference itself, and if they
            have no seed in common. If a run of either diverged, it is a sample of signed ranks.
        diverged: number of its runs that diverged.
    """

    name: str
    typed: str
    losses: Sample
    difference: Sample | None
    diverged: int = 0

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of HEAD."""
        loss = f"{self.losses.mean:,.4f}" + (f" ± {self.losses.sd:,.4f}" if self.losses.n > 1 else "")
        n = str(self.losses.n) + (f", {self.diverged} diverged" if self.diverged else "")
        if self.difference is None:
            return self.name, n, loss, "", "", ""
        low, high = (format_number(bound) for bound in self.difference.interval(LEVEL))
        interval = f"{low} to {high}" if self.difference.n > 1 else ""
        return (
            self.name,
            n,
            loss,
            str(self.difference.n),
            format_number(self.difference.mean),
            interval,
        )


@dataclass(frozen=True)
class Comparison:
    """The table of an experiment.

    Attributes:
        experiment: its name.
        reference: the name of the arm that the others are compared with.
        arms: the arms, the lowest mean loss first.
    """

    experiment: str
    reference: str
    arms: tuple[ComparedArm, ...]

    @property
    def title(self) -> str:
        """What the table is."""
        return f"Results of {self.experiment}, compared with {self.reference}"

    @property
    def caption(self) -> str:
        """What its columns mean."""
        return (
            "Final validation loss, mean ± standard deviation over n seeds. A difference is the arm's loss minus that "
            f"of {self.reference} with the same seed, so one below zero is better; its 95 % t interval is over pairs "
            f"of runs, and is not corrected for the number of arms.{self._on_diverged}"
        )

    @property
    def _on_diverged(self) -> str:
        if not any(arm.diverged for arm in self.arms):
            return ""
        how = "difference and interval are then those of signed ranks (Hodges-Lehmann)"
        return f" A run that diverged counts as one that learnt nothing; {how}."

    def as_csv(self) -> str:
        """Return the numbers as CSV, one row per arm."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_HEAD)
        for arm in self.arms:
            difference: tuple[object, ...] = (0, "", "", "", "")
            if arm.difference is not None:
                d, (low, high) = arm.difference, arm.difference.interval(LEVEL)
                difference = (d.n, _digits(d.mean), _digits(d.sd), _digits(low), _digits(high))
            losses = (arm.losses.n, _digits(arm.losses.mean), _digits(arm.losses.sd))
            writer.writerow((self.experiment, arm.name, *losses, self.reference, *difference, arm.diverged))
        return file.getvalue()

    def as_markdown(self) -> str:
        """Return a table of Markdown under a title."""
        rows = [f"| {' | '.join(map(markdown_text, arm.cells()))} |" for arm in self.arms]
        head = [f"| {' | '.join(HEAD)} |", "|---|---:|---:|---:|---:|---:|"]
        return "\n".join([f"**{markdown_text(self.title)}**", "", *head, *rows, "", markdown_text(self.caption), ""])

    def as_latex(self) -> str:
        """Return a tabular environment, which needs no package."""
        lines = [" & ".join(map(latex_text, cells)) + r" \\" for cells in (HEAD, *(arm.cells() for arm in self.arms))]
        table = [r"\begin{tabular}{lrrrrr}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}"]
        return "\n".join([f"% {self.title}", *table, *(f"% {line}" for line in [self.caption]), ""])

    def as_frame(self) -> pd.DataFrame:
        """Return the table for a notebook."""
        return pd.DataFrame([arm.cells() for arm in self.arms], columns=list(HEAD))

    def texts(self) -> tuple[str, ...]:
        """Return the content of each file, in the order of ENDINGS."""
        return self.as_csv(), self.as_markdown(), self.as_latex()


def compare(data: Exported, reference: str | None = None) -> Comparison | None:
    """Return the comparison of an experiment's arms; None if no run of it is finished.

    Args:
        data: the experiment.
        reference: an arm, as it is typed (model/pos=rope, pos=rope, rope) or shown (RoPE); None for the first one.

    Raises:
        UserError: if there is no such arm.
    """
    arms = _losses_by_arm(data)
    if not arms:
        if reference is not None:
            raise UserError(f"reference={reference} has no finished run: {data.experiment} has none.")
        return None
    chosen = _find(reference, [levels for levels, _, _ in arms], data.experiment) if reference is not None else 0
    _, base, base_diverged = arms[chosen]
    rows = []
    for place, (levels, losses, diverged) in enumerate(arms):
        seeds = [seed for seed in losses if seed in base]
        pairs = None
        if place != chosen and seeds:
            differences = [losses[seed] - base[seed] for seed in seeds]
            cut = diverged or base_diverged
            pairs = sample_with_diverged(differences, UNLIMITED, Sample) if cut else Sample.of(differences)
        name = _in_words(levels, data.experiment)
        rows.append(ComparedArm(name, name_of(levels), Sample.of([*losses.values()]), pairs, diverged))
    by_loss = sorted(rows, key=lambda row: row.losses.mean)
    return Comparison(data.experiment, rows[chosen].name, tuple(by_loss))


def _losses_by_arm(data: Exported) -> list[tuple[dict[str, FactorValue], dict[int, float], int]]:
    """Return the levels of each arm, its final losses by seed, and how many diverged, in the order of the levels."""
    losses = {run: loss for run, loss in counted_losses(data).items() if np.isfinite(loss)}
    runs = data.runs.assign(diverged=has_diverged(data.runs))
    runs = runs.loc[runs["run"].isin([*losses])]
    runs = runs.assign(**{METRIC: [losses[run] for run in runs["run"]]})
    factors = data.factors
    groups = group_rows(runs, factors) if factors and len(runs) else [((), runs)] if len(runs) else []
    arms = [
        (dict(zip(factors, values, strict=True)), _by_seed(rows), sum(rows["diverged"].tolist()))
        for values, rows in groups
    ]
    order = {factor: list(map(str, sort_levels(runs[factor].unique().tolist()))) for factor in factors}
    return sorted(arms, key=lambda arm: [order[factor].index(str(level)) for factor, level in arm[0].items()])


def _by_seed(rows: pd.DataFrame) -> dict[int, float]:
    first = rows.drop_duplicates("seed").sort_values("seed")
    return dict(zip(first["seed"].tolist(), first[METRIC].tolist(), strict=True))


def _in_words(levels: Mapping[str, FactorValue], experiment: str) -> str:
    return ", ".join(level_name(factor, level) for factor, level in levels.items()) or experiment


def _find(reference: str, arms: Sequence[Mapping[str, FactorValue]], experiment: str) -> int:
    """Return the place of the arm that a user means."""
    wanted, spellings = _spelling(printable(reference)), [_spellings(levels, experiment) for levels in arms]
    found = [place for place, known in enumerate(spellings) if wanted in known]
    if not found:
        found = [place for place, known in enumerate(spellings) if wanted.casefold() in map(str.casefold, known)]
    if len(found) == 1:
        return found[0]
    names = "; ".join(name_of(levels) or experiment for levels in arms)
    problem = "may be several arms" if found else "is no arm with a finished run"
    raise UserError(f"reference={reference} {problem} of {experiment}: name one of {names}.")


def _spellings(levels: Mapping[str, FactorValue], experiment: str) -> set[str]:
    typed = name_of(levels)
    values = ",".join(part.partition("=")[2] for part in typed.split(", "))
    forms = (typed, typed.replace("model/", ""), values, _in_words(levels, experiment))
    return {_spelling(form) for form in forms}


def _spelling(text: str) -> str:
    """Return an arm without what does not distinguish arms: blanks, and the way in which a number is written."""
    parts = [part.strip().partition("=") for part in text.split(",")]
    return ",".join(
        name_of({key: value}) if equals else name_of({"": key})[1:] for key, equals, value in parts
    ).casefold()


def _digits(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def latex_text(text: str) -> str:
    """Return text as LaTeX prints it."""
    plain = "".join(_LATEX.get(character, character) for character in text)
    return _POWER.sub(lambda power: rf"$\cdot 10^{{{power[1].replace('$', '')}}}$", plain)


def is_result_of(path: Path, experiment: str) -> bool:
    """Return whether `Comparison.texts` wrote a file, for this experiment."""
    try:
        lines = read_text(path).split("\n")
    except (OSError, ValueError):
        return False
    if path.suffix == ".csv":
        rows = list(csv.reader(lines[1:2]))
        return lines[0] == ",".join(CSV_HEAD) and bool(rows) and rows[0][:1] == [experiment]
    title = f"Results of {experiment}, compared with "
    return lines[0].startswith(f"% {title}" if path.suffix == ".tex" else f"**{markdown_text(title)}")
