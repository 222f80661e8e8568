"""Write the tables of docs/study.md from exports: every part of every claim, what is open, which part of a model
matters most, the field's claims, leads over sizes, what the runs cost.

    python -m scripts.study_page                         from analysis, into docs/study.md
    python -m scripts.study_page runs_dir=runs           also the core-hours, from the runs
    python -m scripts.study_page exports=DIR second=null field=null ladder=null page=null
                                                         only print them, for an older study

`tests/test_study.py` compares the tables with the exports, and looks up every decimal number of the prose in them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import yaml

from lmablate.config.key_value import run_key_value_command
from lmablate.config.schema import CONF
from lmablate.errors import counted
from lmablate.evidence import Claim, Contrast, Kind, Verdict, judge_claims, load_claims
from lmablate.evidence.budget_predicates import EffectWithScale
from lmablate.evidence.budgets import Ladder
from lmablate.evidence.tables import name_of
from lmablate.results.design_effects import find_effects
from lmablate.results.frames import group_rows, sample_variance, select_rows
from lmablate.results.report.calibration import pairings
from lmablate.results.report.plain_words import label_in_words, part_mark
from lmablate.results.report.study import Study, final_losses
from lmablate.results.report.verdict_table import (
    format_number,
    format_seeds_needed,
    markdown_table,
    markdown_text,
)
from scripts.machine import describe
from scripts.marked import replaced

ROOT = Path(__file__).resolve().parents[1]
# The experiments that rank parts.
FACTORIALS = ("factorial_blocks", "factorial")
# Those that compare two arms at several sizes.
LADDERS = ("ladder", "ladder_norm", "ladder_pos", "ladder_optim")
# Those that see a small text many times, so that the loss falls and rises again.
MANY_EPOCHS = ("field_dyt_little_text", "field_dropout_epochs")
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
    page: Annotated[Path | None, "the page whose tables are replaced; null prints them only"] = (
        ROOT / "docs" / "study.md"
    )
    runs_dir: Annotated[Path | None, "the folder of the runs, for the core-hours; null leaves that table as it is"] = (
        None
    )
    costs: Annotated[str, "the mark of the table of core-hours: the runs of a study may be on several machines"] = (
        "costs"
    )


def parts_table(verdicts: list[Verdict]) -> Iterator[str]:
    """Yield a line for each part of each claim."""
    interval = "interval (95 %; equalities and slopes 90 %)"
    yield f"| | part of the claim | effect | {interval} | margin | n | alone, among all parts |"
    yield "|---|---|---:|---|---:|---:|---|"
    for verdict in verdicts:
        for part in verdict.parts:
            contrast = part.contrast
            low, high = contrast.interval
            cells = (
                verdict.claim.id, markdown_text(label_in_words(contrast.label)), format_number(contrast.sample.mean),
                f"{format_number(low)} to {format_number(high)}", f"{contrast.margin:g}", f"{contrast.sample.n}",
                " ".join(part_mark(part)),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"


def open_table(verdicts: list[Verdict]) -> Iterator[str]:
    """Yield a line for each open claim: the probability of a verdict with twice its seeds."""
    yield "| | claim | n | probability of a verdict with twice the seeds | seeds for 80 % |"
    yield "|---|---|---:|---:|---:|"
    for verdict in verdicts:
        if verdict.kind == Kind.UNDERPOWERED:
            chance = dict(verdict.chances).get(2 * verdict.n)
            cells = (
                verdict.claim.id, markdown_text(verdict.claim.reported), f"{verdict.n}",
                "unknown" if chance is None else f"{chance:.2f}", format_seeds_needed(verdict),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"


def sizes_table(study: Study, verdicts: list[Verdict]) -> Iterator[str]:
    """Yield a line for each experiment, and the sums: runs, tokens, spread of paired differences of the final loss."""
    ratios = {pairing.experiment: f"{pairing.ratio:.2f}" for pairing in pairings(study)}
    yield (
        "| experiment | arms | runs | steps | tokens, millions | spread of paired differences, nats "
        "| their variance over that of unpaired ones |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, data in study.experiments.items():
        losses = [*final_losses(data).values()]
        runs = data.runs
        steps = "/".join(f"{value:,.0f}" for value in sorted(runs["max_steps"].unique()))
        tokens = f"{runs['tokens'].sum() / 1e6:.1f}"
        cells = (name, len(losses), len(runs), steps, tokens, _spread(losses), ratios.get(name, "–"))
        yield f"| {' | '.join(map(str, cells))} |"
    every = study.finished
    tokens = every["tokens"].sum() / 1e6
    claims = {verdict.claim.id for verdict in verdicts}
    decided = {verdict.claim.id for verdict in verdicts if verdict.kind not in (Kind.UNDERPOWERED, Kind.NOT_RUN)}
    yield ""
    yield (
        f"{len(every)} different runs, {tokens:.1f} million tokens; "
        f"{len(decided)} of {len(claims)} claims are decided: "
        f"{100 * len(decided) / tokens:.2f} for each 100 million tokens."
    )


def _spread(losses: Sequence[pd.Series]) -> str:
    """Return the root mean square spread of the paired differences of the final loss to the first arm."""
    variances = [sample_variance(other - losses[0]) for other in losses[1:]]
    return f"{np.sqrt(np.mean(variances)):.3f}" if variances else "–"


def tuned_table() -> Iterator[str]:
    """Yield a line for each arm of conf/tuned: the final loss of the pilot at each rate, the chosen one in bold."""
    yield "| pilot of | arm | final validation loss at each rate |"
    yield "|---|---|---|"
    for path in sorted(path for path in (CONF / "tuned").glob("*.yaml") if path.stem not in LADDERS):
        for arm in yaml.safe_load(path.read_text(encoding="utf-8"))["arms"]:
            trials = sorted((trial["optim.lr"], trial["loss"]) for trial in arm["trials"])
            shown = [f"{rate:g}: {loss:.3f}" for rate, loss in trials]
            best = [rate for rate, _ in trials].index(arm["values"]["optim.lr"])
            shown[best] = f"**{shown[best]}**"
            yield f"| {path.stem} | {arm['arm']} | {', '.join(shown)} |"


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


def effects_table(study: Study, experiment: str) -> Iterator[str]:
    """Yield the lines of a factorial: main effects and interactions, shares of the variance, the extreme arms."""
    yield "| effect on the final validation loss, nats | value | 95 % interval | p, corrected |"
    yield "|---|---:|---|---:|"
    found = find_effects(study.experiments[experiment], "val/loss")
    assert found is not None
    for effect in [*found.main, *found.interactions]:
        low, high = effect.interval
        value, interval = format_number(effect.value), f"{format_number(low)} to {format_number(high)}"
        yield f"| {markdown_text(effect.name)} | {value} | {interval} | {effect.adjusted:.2g} |"
    yield ""
    yield "| part | share of the variance among arms, % | 95 % interval |"
    yield "|---|---:|---|"
    for share in found.shares:
        low, high = (f"{100 * bound:.1f}" for bound in share.interval)
        yield f"| {share.term} | {100 * share.share:.1f} | {low} to {high} |"
    yield ""
    means = sorted(
        (losses.mean(), ", ".join(arm)) for arm, losses in final_losses(study.experiments[experiment]).items()
    )
    yield "| lowest and highest means of the arms | final validation loss |"
    yield "|---|---:|"
    yield from (f"| {arm} | {mean:.3f} |" for mean, arm in (means[0], *means[-2:]))
    yield ""
    yield f"{found.arms} arms, {found.seeds} seeds each; a run varies by {found.residual:.3f} nats around this model."


def epochs_table(study: Study) -> Iterator[str]:
    """Yield the lines of the arms that see a small text many times: where their mean loss is lowest, and its end."""
    yield "| experiment | arm | lowest mean validation loss | after step | at the end |"
    yield "|---|---|---:|---:|---:|"
    for name in MANY_EPOCHS:
        data = study.experiments[name]
        rows = select_rows(data.table, data.table["metric"] == "val/loss")
        for factor in data.factors:
            for (arm,), runs in group_rows(rows, [factor]):
                means = [(float(np.mean(at["value"].to_numpy())), step) for (step,), at in group_rows(runs, ["step"])]
                lowest, best = min(means)
                yield f"| {name} | {factor}={arm} | {lowest:.3f} | {best} | {means[-1][0]:.3f} |"


def second_rate_table(study: Study, claims: Sequence[Claim]) -> Iterator[str]:
    """Yield a line for each contrast that was measured at a second learning rate, too: its effect at both."""
    yield "| | part of the claim | at the common rate | at the second rate |"
    yield "|---|---|---|---|"
    for claim in claims:
        for predicate in claim.all_of:
            again = replace(predicate, experiment=f"{predicate.experiment}_second_rate")
            if again.experiment in study.experiments:
                pairs = (rate.measure(study.run_table) for rate in (predicate, again))
                for contrasts in zip(*pairs, strict=True):
                    label = markdown_text(label_in_words(contrasts[0].label))
                    yield f"| {claim.id} | {label} | {' | '.join(map(_effect_in_words, contrasts))} |"


def _effect_in_words(contrast: Contrast) -> str:
    return _in_words(contrast.sample.mean, contrast.interval)


def _in_words(mean: float, interval: tuple[float, float]) -> str:
    low, high = map(format_number, interval)
    return f"{format_number(mean)} ({low} to {high})"


def field_tables(exports: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the verdicts on the field's claims that have runs, what is open of them, and the runs."""
    study = Study.load(exports)
    claims = load_claims(CONF / "claim" / "field")
    judged = judge_claims(claims, study.run_table)
    verdicts = [verdict for verdict in judged if verdict.kind != Kind.NOT_RUN]
    yield "field", markdown_table(verdicts).splitlines()
    yield "field_open", [*open_table(verdicts)]
    yield "field_epochs", [*epochs_table(study)]
    yield "field_second_rate", [*second_rate_table(study, claims)]
    yield "field_sizes", [*sizes_table(study, verdicts)]


def rates_table() -> Iterator[str]:
    """Yield a line for each arm of the ladders: the rate that its pilot chose at each size, and the loss there."""
    chosen: dict[str, dict[str, str]] = {}
    for name in LADDERS:
        for arm in yaml.safe_load((CONF / "tuned" / f"{name}.yaml").read_text(encoding="utf-8"))["arms"]:
            who, rung = arm["arm"].rsplit(" ", 1)
            chosen.setdefault(who, {})[rung] = f"{arm['values']['optim.lr']:g}: {arm['loss']:.3f}"
    rows: dict[str, str] = {}  # the base is an arm of each ladder, and has one line
    for who, rates in chosen.items():
        rows.setdefault(" | ".join(rates.values()), who)
    sizes = next(iter(chosen.values()))
    yield f"| arm | {' | '.join(sizes)} |"
    yield f"|---{'|---' * len(sizes)}|"
    yield from (f"| {who} | {rates} |" for rates, who in rows.items())


def leads_table(study: Study, claims: Sequence[Claim]) -> Iterator[str]:
    """Yield a line for each claim about sizes: the lead at each, its slope, and the error of predicting the largest."""
    ladders: list[tuple[str, Ladder]] = []
    for claim in claims:
        for predicate in claim.all_of:
            assert isinstance(predicate, EffectWithScale)
            better, worse, seeds = predicate.runs_of_both(study.run_table, fewest=3)
            who = label_in_words(f"the lead of {name_of(predicate.better)} over {name_of(predicate.worse)}")
            ladders.append((f"{claim.id}: {who}", predicate.ladder(study.run_table, better, worse, seeds)))
    rungs = range(len(ladders[0][1].flops))
    cells = [f"at {flops:.2g} FLOPs" for flops in ladders[0][1].flops]
    cells += ["change with ten times the FLOPs", "predicted by the smaller sizes minus measured, at the largest"]
    yield f"| | {' | '.join(cells)} |"
    yield f"|---{'|---:' * len(cells)}|"
    for who, ladder in ladders:
        samples = [*map(ladder.rung, rungs), ladder.slopes, ladder.held_out]
        yield f"| {who} | {' | '.join(_in_words(each.mean, each.interval()) for each in samples)} |"


def ladder_tables(exports: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rates of the ladders' arms, the verdicts, the leads at each size, and the runs."""
    study = Study.load(exports)
    judged = judge_claims(load_claims(CONF / "claim" / "ladder"), study.run_table)
    verdicts = [verdict for verdict in judged if verdict.kind != Kind.NOT_RUN]
    yield "ladder_rates", [*rates_table()]
    yield "ladder", markdown_table(verdicts).splitlines()
    yield "ladder_leads", [*leads_table(study, [verdict.claim for verdict in verdicts])]
    yield "ladder_open", [*open_table(verdicts)]
    yield "ladder_sizes", [*sizes_table(study, verdicts)]


def tables_of(exports: Path, second: Path | None, field: Path | None, ladder: Path | None) -> dict[str, list[str]]:
    """Return the lines of each table that exports decide, by its mark in the page."""
    study = Study.load(exports)
    verdicts = judge_claims(load_claims(CONF / "claim"), study.run_table)
    tables = {"parts": [*parts_table(verdicts)], "open": [*open_table(verdicts)], "tuned": [*tuned_table()]}
    again: list[Verdict] = []
    if second is not None:
        later = Study.load(second)
        again = judge_claims(load_claims(CONF / "claim" / "again"), later.run_table)
        tables["again"] = [*markdown_table(again).splitlines(), "", *parts_table(again)]
        tables |= {name: [*effects_table(later, name)] for name in FACTORIALS}
        study = Study({**study.experiments, **later.experiments})
    tables["sizes"] = [*sizes_table(study, [*verdicts, *again])]
    if field is not None:
        tables |= dict(field_tables(field))
    if ladder is not None:
        tables |= dict(ladder_tables(ladder))
    return tables


def study_page(args: Arguments) -> None:
    """Print the tables, and write them into the page."""
    tables = tables_of(args.exports, args.second, args.field, args.ladder)
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
