"""Measure the cost of diagnostics=light and full, beside none: `python scripts/bench_diagnostics.py`.

Steps of the three levels take turns. Times are CPU seconds of one thread, which other processes hardly change.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build_all, build_model, resolve_config
from lmablate.config.compose import compose_config, config_folder
from lmablate.diagnostics.probe import ProbeContext, probe_evaluation
from lmablate.runs.run import Run
from lmablate.training.trainer import Trainer, TrainingData

LEVELS = ("none", "light", "full")


def cpu_seconds(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def make_config(scale: str, level: str) -> DictConfig:
    """Return the resolved config at this scale and level of diagnostics."""
    with config_folder():
        return resolve_config(compose_config([f"scale={scale}", f"diagnostics={level}"]))


def make_trainer(cfg: DictConfig, folder: Path) -> Trainer:
    """Return a trainer on random tokens: their values do not change the time."""
    settings: Any = OmegaConf.to_object(cfg)
    vocab, rows = cfg.tokenizer.vocab_size, cfg.train.batch_size * cfg.train.eval_batches
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocab, rows * cfg.model.context_length + 1).astype(np.uint16)
    return Trainer(
        build_model(cfg),
        TrainingData(tokens, tokens, np.ones(vocab)),
        Run.create(folder, {}, "bench", ""),
        seed=0,
        train=replace(settings.train, device="cpu", log_every=1),
        optim=settings.optim,
        probes=build_all(cfg.diagnostics.probes),
    )


def step_times(trainers: dict[str, Trainer], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each step by level.

    The first step of each level warms up and does not count. The level that begins a round changes.
    """
    times: dict[str, list[float]] = {level: [] for level in trainers}
    for r in range(rounds + 1):
        for i in range(len(LEVELS)):
            level = LEVELS[(r + i) % len(LEVELS)]
            times[level].append(cpu_seconds(lambda trainer=trainers[level]: trainer.train_one_step({})))
    return {level: values[1:] for level, values in times.items()}


def probe_times(trainer: Trainer) -> tuple[float, float, float]:
    """Return the CPU seconds of the probes at the first, a middle, and the last evaluation."""
    tokens, targets = next(iter(trainer.eval_batches))
    last = trainer.train.max_steps

    def probe_at(step: int) -> None:
        with torch.no_grad():
            context = ProbeContext(trainer.model, step, last, tokens, targets, valid=trainer.data.valid)
            probe_evaluation(trainer.probes, context)

    return (
        cpu_seconds(lambda: probe_at(0)),
        cpu_seconds(lambda: probe_at(last // 2)),
        cpu_seconds(lambda: probe_at(last)),
    )


def print_costs(scale: str, rounds: int) -> None:
    """Measure one scale, and print the costs of a step, an evaluation and a run."""
    with tempfile.TemporaryDirectory() as folder:
        trainers = {level: make_trainer(make_config(scale, level), Path(folder, level)) for level in LEVELS}
        steps = step_times(trainers, rounds)
        base, settings = median(steps["none"]), trainers["none"].train
        print(f"scale={scale}: a step without diagnostics takes {1e3 * base:.1f} ms ({rounds} rounds)")
        for level in LEVELS[1:]:
            pairs = zip(steps[level], steps["none"], strict=True)
            ratio = median(watched / plain for watched, plain in pairs)
            first, middle, last = probe_times(trainers[level])
            between = settings.max_steps // settings.eval_every - 1
            share = (first + middle * between + last) / (settings.max_steps * base)
            print(
                f"  {level:5} {ratio - 1:+.1%} per step; {share + ratio - 1:+.1%} of the steps' time per run; "
                "an evaluation costs "
                f"{first / base:.1f} steps at step 0, {middle / base:.1f} later, {last / base:.1f} last",
                flush=True,
            )


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("short", "cpu", "report"), nargs="+", default=("cpu", "report"))
    parser.add_argument("--rounds", type=int, default=15, help="steps per level (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for scale in args.scale:
        print_costs(scale, args.rounds)


if __name__ == "__main__":
    main()
