"""The study as one page that needs nothing but itself."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from lmablate.config.schema import CONF
from lmablate.evidence import Kind, Verdict
from lmablate.results.exports import Exported
from lmablate.results.plots import MAIN, summary
from lmablate.results.report import forest, starts, verdict_table
from lmablate.results.report.calibration import NullTest, Pairing
from lmablate.results.report.draw_all import Drawn
from lmablate.results.report.rates import RateCurves, rate_curves
from lmablate.results.report.study import Study

HERE = Path(__file__).parent
CAPTIONS = {
    "overview": "Training loss, validation loss and gradient norm before clipping.",
    "learning_rate": "Final validation loss against the peak learning rate. The best rate of each arm is ringed.",
    "tied_grad_cosine": "Cosine between the input and the output part of a tied matrix's gradient. "
    "Below zero they conflict.",
    "untied_grad_cosine": "Cosine between the gradients of the two matrices of an untied model.",
    "residual_branch_ratio_attn_layer": "What attention adds to the residual stream, relative to it, by layer.",
    "residual_branch_ratio_mlp_layer": "What the MLP adds to the residual stream, relative to it, by layer.",
    "residual_stream_cosine_layer": "Cosine of the residual stream before and after each layer.",
    "residual_drop_loss_layer": "How much the loss rises when the stream skips a layer.",
    "dead_units_layer": "Fraction of MLP units that no token of a fixed batch activates, by layer.",
    "position_loss_bin": "Loss in each eighth of the training context.",
    "position_lossx": "Loss in the last quarter of a context of 1, 2 and 4 training contexts.",
    "grad_norm_layer": "Gradient norm of each layer at the end of training.",
}
"""Figures that the page shows, by file name, in this order. The others are in the figures' folder."""
MINUS = re.compile(r"(?<= )-(?=\d)")
LONG_NUMBER = re.compile(rb"(\d{2,}\.\d{2})\d+")


@dataclass(frozen=True)
class Section:
    """What the page says about one experiment."""

    name: str
    description: str
    verdicts: list[Verdict]
    warnings: list[str]
    measured: Mapping[str, Any]
    arms: pd.DataFrame
    figures: list[tuple[str, str, str]]
    """File name, caption, and the picture as a data URI."""
    rates: RateCurves | None
    runs: pd.DataFrame
    command: str
    scale: str
    machine: str


def section(data: Exported, audit: Mapping[str, Any], drawn: Drawn, judged: Sequence[Verdict]) -> Section:
    """audit: as `lmablate.audit` stored it; where it is empty the runs themselves say how they started."""
    return Section(
        name=data.experiment,
        description=_description(data.experiment),
        verdicts=[v for v in judged if data.experiment in v.claim.experiments],
        warnings=audit["warnings"] if audit else starts.warnings(data),
        measured=_measured(data.runs),
        arms=_filled(summary(data)),
        figures=[(name, CAPTIONS[name], _embedded(drawn[name])) for name in CAPTIONS if name in drawn],
        rates=rate_curves(data),
        runs=data.runs,
        command=audit.get("command", f"python -m lmablate.train experiment={data.experiment}"),
        scale=audit.get("scale") or "",
        machine=audit.get("machine", ""),
    )


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """Without columns that say nothing."""
    return table.loc[:, (table != "").any()]


def _description(experiment: str) -> str:
    """The comment at the head of the experiment's yaml, without its number and full stop; empty where there is none."""
    path = CONF / "experiment" / f"{experiment}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#") and "@package" not in line]
    text = re.sub(r"^\d+:\s*", "", " ".join(comments))
    return text[:1].upper() + text[1:].removesuffix(".")


def _measured(runs: pd.DataFrame) -> dict[str, str]:
    """Size and length of the runs, each as a number or a range."""
    ranges = {"parameters": "parameters", "tokens": "training tokens each", "max_steps": "steps"}
    values: Any = {words: runs[column].dropna() for column, words in ranges.items()}
    known = {words: column for words, column in values.items() if len(column)}
    spans = {words: (int(column.min()), int(column.max())) for words, column in known.items()}
    return {words: f"{low:,}" if low == high else f"{low:,} to {high:,}" for words, (low, high) in spans.items()}


def _embedded(svg: Path) -> str:
    """The picture as a data URI; a hundredth of a point is as exact as a screen or a printer can show."""
    picture = LONG_NUMBER.sub(rb"\1", svg.read_bytes())
    return "data:image/svg+xml;base64," + base64.b64encode(picture).decode()


def render(
    study: Study, judged: Sequence[Verdict], sections: Sequence[Section], tests: list[NullTest], pairs: list[Pairing]
) -> str:
    """The page's HTML. The same inputs give the same bytes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": verdict_table.number,
        "minus": lambda text: MINUS.sub("−", text),
        "slug": lambda kind: kind.lower().replace(" ", "-"),
    }
    by_kind = {kind: [v for v in judged if v.kind == kind] for kind in Kind}
    return environment.get_template("page.html").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        study=study,
        facts=_measured(study.done),
        verdicts=judged,
        by_kind={kind: found for kind, found in by_kind.items() if found},
        meanings=verdict_table.MEANINGS,
        summary=verdict_table.summary(judged),
        forest=forest,
        interval=verdict_table.interval,
        seeds=verdict_table.seeds,
        sections=sections,
        tests=tests,
        pairs=pairs,
        main=MAIN,
    )
