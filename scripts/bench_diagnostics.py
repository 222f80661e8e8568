"""What diagnostics=light and full cost, beside none in the same run: `python scripts/bench_diagnostics.py`.

Steps of the three levels take turns. Times are CPU seconds of one thread: other processes matter little.
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


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def composed(scale: str, level: str) -> DictConfig:
    with config_folder():
        return resolve_config(compose_config([f"scale={scale}", f"diagnostics={level}"]))


def make_trainer(cfg: DictConfig, folder: Path) -> Trainer:
    """On random tokens: their values do not change the time."""
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
    """CPU seconds of each step; the first one warms up, and who begins a round changes."""
    times: dict[str, list[float]] = {level: [] for level in trainers}
    for r in range(rounds + 1):
        for i in range(len(LEVELS)):
            level = LEVELS[(r + i) % len(LEVELS)]
            times[level].append(seconds(lambda trainer=trainers[level]: trainer.train_one_step({})))
    return {level: values[1:] for level, values in times.items()}


def probe_times(trainer: Trainer) -> tuple[float, float, float]:
    """CPU seconds of the probes at the first, a middle, and the last evaluation."""
    tokens, targets = next(iter(trainer.eval_batches))
    last = trainer.train.max_steps

    def probe_at(step: int) -> None:
        with torch.no_grad():
            context = ProbeContext(trainer.model, step, last, tokens, targets, valid=trainer.data.valid)
            probe_evaluation(trainer.probes, context)

    return seconds(lambda: probe_at(0)), seconds(lambda: probe_at(last // 2)), seconds(lambda: probe_at(last))


def report(scale: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainers = {level: make_trainer(composed(scale, level), Path(folder, level)) for level in LEVELS}
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
                f"  {level:5} a step: {ratio - 1:+.1%}; a run: {share + ratio - 1:+.1%} of its steps' time; "
                "an evaluation costs "
                f"{first / base:.1f} steps at step 0, {middle / base:.1f} later, {last / base:.1f} last",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("cpu", "report"), nargs="+", default=("cpu", "report"))
    parser.add_argument("--rounds", type=int, default=15, help="steps per level (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for scale in args.scale:
        report(scale, args.rounds)


if __name__ == "__main__":
    main()
