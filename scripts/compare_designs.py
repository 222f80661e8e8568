"""Compare a factorial design with one factor at a time, on real runs that are as many.

    python scripts/compare_designs.py [steps=100] [runs_dir=runs/designs]      some ten minutes on two cores

Both answer: what does each of five parts (conf/design/parts.yaml) do to the final loss? The design trains 16 arms with
two seeds. One factor at a time trains the first arm and five that differ from it in one part, with five seeds or six.
Printed are the standard errors of the five main effects, and the gain that theory predicts: an effect of the design is
the difference of two means of 16 runs, an effect of the other the mean of 5 1/3 paired differences.
"""

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from machine import describe

from lmablate.config.designs import load_design
from lmablate.config.key_value import run_key_value_command
from lmablate.config.schema import CONF
from lmablate.evidence.divergence import final_loss
from lmablate.evidence.factorial import Factorial, analyse_factorial
from lmablate.runs.run import Run
from lmablate.sweep.jobs import expand_sweep, expected_runs

SEEDS_OF_DESIGN, RUNS = 2, 32


@dataclass
class Arguments:
    """Train both, and print the standard errors side by side."""

    steps: Annotated[int, "updates of each run"] = 100
    runs_dir: Annotated[Path, "where the runs are; those that exist are not trained again"] = Path("runs/designs")
    lr: Annotated[float, "peak learning rate"] = 1e-2


def train(arguments: list[str]) -> list[tuple[Run, int]]:
    """Train a sweep, and return its runs with their seeds."""
    subprocess.run([sys.executable, "-m", "lmablate.train", *arguments], check=True, stdout=subprocess.DEVNULL)
    sweep = expand_sweep(arguments)
    return [(run, int(job.cfg.seed)) for job, (_, run) in zip(sweep.jobs, expected_runs(sweep), strict=True)]


def losses(arguments: list[str]) -> dict[int, float]:
    """Train one arm, and return the final loss by seed."""
    return {seed: final_loss(run.status()) for run, seed in train(arguments)}


def measure_design(arms: list[dict[str, str]], common: list[str]) -> Factorial:
    """Train and analyse the design."""
    rows = [
        {**arm, "seed": seed, "value": loss}
        for arm in arms
        for seed, loss in losses(_one_arm(arm, SEEDS_OF_DESIGN, common)).items()
    ]
    return analyse_factorial(pd.DataFrame(rows))


def measure_one_at_a_time(factors: dict[str, tuple[str, ...]], common: list[str]) -> dict[str, tuple[float, float]]:
    """Train the first arm and its neighbours, and return each part's effect and its standard error."""
    base = {group: options[0] for group, options in factors.items()}
    counts = [RUNS // (len(factors) + 1) + (i < RUNS % (len(factors) + 1)) for i in range(len(factors) + 1)]
    found = {}
    reference = losses(_one_arm(base, counts[0], common))
    for (group, options), n in zip(factors.items(), counts[1:], strict=True):
        other = losses(_one_arm({**base, group: options[1]}, n, common))
        pairs = [other[seed] - reference[seed] for seed in other.keys() & reference.keys()]
        found[group] = (float(np.mean(pairs)), float(np.std(pairs, ddof=1)) / math.sqrt(len(pairs)))
    return found


def _one_arm(arm: dict[str, str], seeds: int, common: list[str]) -> list[str]:
    chosen = [f"{group}={option}" for group, option in arm.items()]
    return ["-m", *chosen, *common, f"seed=range({seeds})"]


def compare(args: Arguments) -> None:
    """Print the table."""
    common = [
        "name=designs", "scale=short", "tracking=none", "diagnostics=light", f"runs_dir={args.runs_dir}",
        f"train.max_steps={args.steps}", f"optim.lr={args.lr}", f"optim.warmup_steps={args.steps // 10}",
        f"train.eval_every={args.steps}", f"train.checkpoint_every={args.steps}", "train.final_eval_batches=64",
    ]  # fmt: skip
    design = load_design(Path(CONF, "design", "parts.yaml"))
    whole = measure_design(design.arms(), common)
    single = measure_one_at_a_time(design.factors, common)
    print(f"{describe()}; {args.steps} steps, {RUNS} runs each way\n")
    print("| part | factorial: effect | standard error | one at a time: effect | standard error | ratio of variances |")
    print("|---|---|---|---|---|---|")
    gains = []
    for effect in whole.main:
        group = next(group for group in single if group.rsplit("/", 1)[-1] == effect.term)
        value, error = single[group]
        gains.append((error / effect.error) ** 2)
        cells = (f"{effect.value:+.4f}", f"{effect.error:.4f}", f"{value:+.4f}", f"{error:.4f}", f"{gains[-1]:.1f}")
        print(f"| {effect.name} | {' | '.join(cells)} |")
    predicted = (2 / (RUNS / (len(single) + 1))) / (4 / RUNS)
    print(
        f"\nmedian ratio of variances {np.median(gains):.1f}; theory, with equal noise and no pairing: {predicted:.1f}"
    )
    print(f"a run's spread around the design's model: {whole.residual:.4f} nats")


if __name__ == "__main__":
    run_key_value_command("scripts/compare_designs.py", Arguments, compare)
