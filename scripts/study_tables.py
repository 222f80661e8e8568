"""Tables of docs/study.md: what exports say, line by line."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lmablate.config.schema import CONF
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

# The experiments that compare two arms at several sizes.
LADDERS = ("ladder", "ladder_norm", "ladder_pos", "ladder_optim")
# Those that leave out one choice of a stack, and that add one to the base.
LEAVE_ONE_OUT, ADD_ONE = "leave_one_out", "add_one"
# The experiments that see a small text many times, so that the loss falls and rises again.
MANY_EPOCHS = ("field_dyt_little_text", "field_dropout_epochs")


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
    count = f"; {len(decided)} of {len(claims)} claims are decided" if claims else ""
    rate = f": {100 * len(decided) / tokens:.2f} for each 100 million tokens" if claims else ""
    yield ""
    yield f"{len(every)} different runs, {tokens:.1f} million tokens{count}{rate}."


def _spread(losses: Sequence[pd.Series]) -> str:
    """Return the root mean square spread of the paired differences of the final loss to the first arm."""
    variances = [sample_variance(other - losses[0]) for other in losses[1:]]
    return f"{np.sqrt(np.mean(variances)):.3f}" if variances else "–"


def tuned_table() -> Iterator[str]:
    """Yield a line for each arm of conf/tuned: the final loss of the pilot at each rate, the chosen one in bold."""
    yield "| pilot of | arm | final validation loss at each rate |"
    yield "|---|---|---|"
    for path in sorted((CONF / "tuned").glob("*.yaml")):
        if path.stem in (*LADDERS, LEAVE_ONE_OUT, ADD_ONE):  # they have tables of their own
            continue
        for arm in tuned_arms(path.stem):
            yield f"| {path.stem} | {arm['arm']} | {trials_in_words(arm)} |"


def tuned_arms(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((CONF / "tuned" / f"{name}.yaml").read_text(encoding="utf-8"))["arms"]


def trials_in_words(arm: dict[str, Any]) -> str:
    trials = sorted((trial["optim.lr"], trial["loss"]) for trial in arm["trials"])
    shown = [f"{rate:g}: {loss:.3f}" for rate, loss in trials]
    best = [rate for rate, _ in trials].index(arm["values"]["optim.lr"])
    shown[best] = f"**{shown[best]}**"
    return ", ".join(shown)


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
    return in_words(contrast.sample.mean, contrast.interval)


def in_words(mean: float, interval: tuple[float, float]) -> str:
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
        for arm in tuned_arms(name):
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
    cells = ["at the smallest size", "at the second", "at the third", "at the largest"]
    assert len(cells) == len(rungs)
    cells += ["change with ten times the FLOPs", "predicted by the smaller sizes minus measured, at the largest"]
    yield f"| | {' | '.join(cells)} |"
    yield f"|---{'|---:' * len(cells)}|"
    for who, ladder in ladders:
        samples = [*map(ladder.rung, rungs), ladder.slopes, ladder.held_out]
        yield f"| {who} | {' | '.join(in_words(each.mean, each.interval()) for each in samples)} |"


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
