"""Try each kind of reading on real runs between which nothing differs, and count the false verdicts.

    python scripts/aa_on_exports.py [exports=analysis/exports] [splits=200]        a minute

    scripts/aa_ladder.sh                                                           ten minutes on two cores
    python scripts/aa_on_exports.py exports=runs/aa_ladder/exports

The second pair of commands trains an arm at four sizes, for the readings over sizes and over layers.

Arms that were trained with at least eight seeds are split in two halves by chance, over and over; the halves are called
arms a and b, and their seeds are paired by chance. No verdict that they differ can be right. Printed is how often the
rule says so at 5 %, for each predicate. The splits of one arm share its runs: the number of arms says how much a rate
can be trusted. For `greater_than` the constant is the mean of all seeds of the arm, so its rate is a little too low.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from machine import describe

from lmablate.config.key_value import run_key_value_command
from lmablate.evidence import PREDICATES, Kind, Measured, Reading, RunTable, decide
from lmablate.evidence.tables import NotMeasured
from lmablate.results.exports import Exported
from lmablate.results.report.study import Study

FEWEST_SEEDS = 8
RATE, RUNG = "optim.lr", "rung"
# Factors that some predicates read over: all their values belong to one arm.
OVER: dict[str, str] = {"lower_at_best_lr": RATE, "less_sensitive": RATE, "effect_with_scale": RUNG}
A, B = {"half": "a"}, {"half": "b"}
PAIR: dict[str, Any] = {"better": A, "worse": B}
# The readings of the claims: a predicate, what it reads, and its other fields.
READINGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "final loss": ("lower", "val/loss", PAIR),
    "mean loss of the first half": ("lower", "val/loss", PAIR | {"reduce": "mean", "during": [0.0, 0.5]}),
    "late change of the loss": ("flatter_late", "val/loss", {"arm": A, "others": [B]}),
    "gradient norm, log of the mean": ("lower", "grad_norm", PAIR | {"reduce": "mean", "transform": "log"}),
    "gradient norm, log of peak over median": (
        "lower", "grad_norm", PAIR | {"reduce": "peak_to_median", "transform": "log"},
    ),
    "gradient norm, spikes": ("lower", "grad_norm", PAIR | {"reduce": "spikes"}),
    "final loss against a constant": ("greater_than", "val/loss", {"arm": A}),
    "final loss at each half's best rate": ("lower_at_best_lr", "val/loss", PAIR),
    "sensitivity to the rate": ("less_sensitive", "val/loss", PAIR),
    "change over the layers of a branch's share": (
        "trend_with_depth", "residual/branch_ratio_mlp/layer_{i}", {"arm": A, "than": B, "direction": "rises"},
    ),
    "change of the loss's lead with the size": ("effect_with_scale", "val/loss", PAIR | {"trend": "grows"}),
}  # fmt: skip


@dataclass
class Arguments:
    """Split the arms of the exports, and print the rates of false verdicts."""

    exports: Annotated[Path, "the folder of the exports"] = Path("analysis/exports")
    splits: Annotated[int, "splits of each arm"] = 200


def arms_of(data: Exported, over: str | None) -> Iterator[pd.DataFrame]:
    """Yield the finished runs of each arm with enough seeds; those of all values of `over` together."""
    if over and over not in data.factors:
        return
    factors = [factor for factor in data.factors if factor != over]
    done: Any = data.runs[data.runs["state"] == "done"]
    for _, runs in done.groupby(factors) if factors else [((), done)]:
        if runs["seed"].nunique() >= FEWEST_SEEDS:
            yield runs


def split(data: Exported, runs: Any, rng: np.random.Generator) -> RunTable:
    """Return the runs as those of two arms, with new numbers of seeds."""
    seeds = rng.permutation(runs["seed"].unique())
    half = len(seeds) // 2
    renamed = {seed: ("a" if i < half else "b", i % half) for i, seed in enumerate(seeds[: 2 * half])}
    chosen = runs[runs["seed"].isin(renamed)]
    arms = chosen[["run", "seed", *({RATE, RUNG} & {*data.factors})]].assign(
        half=[renamed[seed][0] for seed in chosen["seed"]], seed=[renamed[seed][1] for seed in chosen["seed"]]
    )
    return RunTable({"e": Measured(arms, data.metrics.names, data.metrics.rows)}, chosen.assign(experiment="e"))


def is_false(table: RunTable, name: str, metric: str, options: Mapping[str, Any]) -> bool:
    """Return whether the rule calls two halves different."""
    claim = PREDICATES[name](experiment="e", metric=metric, **options)
    return decide([claim.measure(table)])[0].kind in (Kind.SUPPORTED, Kind.REFUTED)


def rates_of(study: Study, splits: int) -> dict[str, list[float]]:
    """Return the rate of false verdicts of each arm, by reading."""
    found: dict[str, list[float]] = defaultdict(list)
    for data in study.experiments.values():
        for over in (None, RATE, RUNG):
            for runs in arms_of(data, over):
                rng = np.random.default_rng(0)
                tables = [split(data, runs, rng) for _ in range(splits)]
                for words, (name, metric, options) in READINGS.items():
                    if OVER.get(name) != over or (RATE in data.factors and over != RATE):
                        continue
                    if name == "greater_than":
                        losses = [Reading(metric).of(tables[0], "e", run) for run in runs["run"]
                                  if tables[0].has("e", run, metric)]  # fmt: skip
                        options = {**options, "constant": float(np.mean(losses))}
                    try:
                        found[words].append(float(np.mean([is_false(t, name, metric, options) for t in tables])))
                    except NotMeasured:
                        continue
    return found


def main(args: Arguments) -> None:
    """Print the table."""
    print(f"{describe()}; {args.splits} splits of each arm\n")
    print("| reading | arms | false verdicts | highest of an arm |\n|---|---|---|---|")
    for words, rates in rates_of(Study.load(args.exports), args.splits).items():
        print(f"| {words} | {len(rates)} | {np.mean(rates):.1%} | {max(rates):.1%} |", flush=True)


if __name__ == "__main__":
    run_key_value_command("scripts/aa_on_exports.py", Arguments, main)
