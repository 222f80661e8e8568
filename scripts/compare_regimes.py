"""Which length, batch and rate show a difference between architectures at the least cost? A pilot on real runs.

    python scripts/compare_regimes.py                                   all: hours on two cores; may be interrupted
    python scripts/compare_regimes.py regimes=steps600,steps1200 seeds=4

Every arm of ARMS is trained with the same seeds in every regime of REGIMES, otherwise as scale=cpu. A regime is good if

- every run has left the plateau at a quarter of training: its loss is below that of a model that knows no more than how
  often each token occurs, by PASSED nats or more;
- the paired differences between arms vary little for what they cost: `price` is their spread times the square root of
  the core-hours of a pair. With it the core-hours that a difference d needs go as (price / d) squared.

The seeds are the pilot's own. A study that follows must not use them.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from machine import describe

from lmablate.config.build import build
from lmablate.config.key_value import run_key_value_command
from lmablate.data.prepare import PreparedData, prepare_data
from lmablate.errors import UserError
from lmablate.evidence.divergence import final_loss
from lmablate.runs.run import Run
from lmablate.sweep.jobs import expand_sweep, expected_runs

# The first arm is what the others are compared with.
ARMS = {
    "llama": [],
    "learned positions": ["model/pos=learned"],
    "post-norm": ["model/norm=post"],
    "vanilla": ["arch=vanilla"],
}
REGIMES = {
    "steps300": ["train.max_steps=300", "train.batch_size=16", "optim.lr=1e-2"],
    "steps600": ["train.max_steps=600", "train.batch_size=16", "optim.lr=1e-2"],
    "steps600_rate5": ["train.max_steps=600", "train.batch_size=16", "optim.lr=5e-3"],
    "batch32": ["train.max_steps=300", "train.batch_size=32", "optim.lr=1e-2"],
    "batch8_short": ["train.max_steps=600", "train.batch_size=8", "optim.lr=5e-3"],
    "batch8": ["train.max_steps=1200", "train.batch_size=8", "optim.lr=5e-3"],
    "vocab512": ["train.max_steps=600", "train.batch_size=16", "optim.lr=1e-2", "tokenizer.vocab_size=512"],
    "steps1200": ["train.max_steps=1200", "train.batch_size=16", "optim.lr=7e-3"],
}
FIRST_SEED = 1000
# Nats below the plateau.
PASSED = 0.3


@dataclass
class Arguments:
    """Train the arms in each regime, and print what each costs and shows."""

    regimes: Annotated[str, "names of REGIMES, with commas; all by default"] = ",".join(REGIMES)
    seeds: Annotated[int, "seeds of each arm"] = 4
    runs_dir: Annotated[Path, "where the runs are; those that exist are not trained again"] = Path("runs/regimes")


@dataclass(frozen=True)
class Trained:
    """A finished run: its final loss in nats per token, that at a quarter of training, and the seconds of its steps."""

    loss: float
    quarter: float
    seconds: float

    @classmethod
    def of(cls, run: Run) -> "Trained":
        """Read a run's files."""
        rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        last = max(row["step"] for row in rows)
        quarter = next(row["val/loss"] for row in rows if "val/loss" in row and row["step"] >= last / 4)
        timed = [row for row in rows if "tokens_per_s" in row]
        tokens = np.diff([0, *(row["tokens"] for row in timed)])
        return cls(final_loss(run.status()), quarter, float(sum(tokens / [row["tokens_per_s"] for row in timed])))


def train(arguments: list[str]) -> dict[int, Trained]:
    """Train a sweep, and return what became of each seed."""
    subprocess.run([sys.executable, "-m", "lmablate.train", *arguments], check=True, stdout=subprocess.DEVNULL)
    sweep = expand_sweep(arguments)
    runs = zip(sweep.jobs, expected_runs(sweep), strict=True)
    return {int(job.cfg.seed): Trained.of(run) for job, (_, run) in runs}


def plateau(data: PreparedData) -> float:
    """Return the loss of a model that knows how often each validation token occurs, in nats per token."""
    counts = np.bincount(np.asarray(data.valid.array))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def rows_of(name: str, args: Arguments) -> Iterator[str]:
    """Train one regime, and yield the lines of its table."""
    steps = next(int(key.split("=")[1]) for key in REGIMES[name] if key.startswith("train.max_steps"))
    common = [
        "-m", *REGIMES[name], f"optim.warmup_steps={steps // 12}", f"train.eval_every={steps // 12}",
        f"train.checkpoint_every={steps}", "tracking=none", "diagnostics=none", f"runs_dir={args.runs_dir}",
        f"seed=range({FIRST_SEED},{FIRST_SEED + args.seeds})", "name=regimes",
    ]  # fmt: skip
    found = {arm: train([*common, *overrides]) for arm, overrides in ARMS.items()}
    cfg = expand_sweep(common).jobs[0].cfg
    unigram = plateau(prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir))
    every = [run for runs in found.values() for run in runs.values()]
    past = sum(run.quarter < unigram - PASSED for run in every)
    minutes = np.mean([run.seconds for run in every]) / 60
    base, *others = found.values()
    differences = [[runs[seed].loss - base[seed].loss for seed in runs] for runs in others]
    spread = math.sqrt(np.mean([np.var(each, ddof=1) for each in differences]))
    price = spread * math.sqrt(2 * minutes / 60)
    effects = " | ".join(f"{np.mean(each):+.3f} ({np.std(each, ddof=1):.3f})" for each in differences)
    loss = np.mean([run.loss for run in base.values()])
    yield f"| {name} | {minutes:.2f} | {loss:.3f} | {past} of {len(every)} | {effects} | {spread:.4f} | {price:.4f} |"


def compare(args: Arguments) -> None:
    """Print the table, a regime as soon as it is trained."""
    if unknown := [name for name in args.regimes.split(",") if name not in REGIMES]:
        raise UserError(f"regimes={unknown[0]} is not allowed: it must be some of {', '.join(REGIMES)}.")
    print(f"{describe()}; {args.seeds} seeds. Losses and differences to {next(iter(ARMS))} are in nats per token,")
    print("in brackets the spread of paired differences.\n")
    columns = ("regime", "core-minutes", "llama", "past the plateau", *[*ARMS][1:], "spread", "price")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in args.regimes.split(","):
        for row in rows_of(name, args):
            print(row, flush=True)


if __name__ == "__main__":
    run_key_value_command("scripts/compare_regimes.py", Arguments, compare)
