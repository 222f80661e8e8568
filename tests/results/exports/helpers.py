"""Run folders with made-up measurements, written by the code that writes real ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmablate.config.schema import MODEL_GROUPS
from lmablate.results.exports.catalogue import options
from lmablate.runs.metrics import MetricsLog
from lmablate.runs.run import Run

BASE = {"norm": "post", "pos": "sin", "act": "relu", "tying": "true", "init": "scaled"}
Row = dict[str, float]


def make_config(seed: int = 0, max_steps: int = 200, warmup_steps: int = 20, lr: float = 3e-3, **slots: str) -> dict:
    """The part of a config that counts for a run's identity."""
    chosen = BASE | slots
    classes = {slot: {option: name for name, option in options(slot).items()} for slot in MODEL_GROUPS}
    model = {slot: {"_target_": f"lmablate.model.{classes[slot][chosen[slot]]}"} for slot in MODEL_GROUPS}
    return {
        "seed": seed,
        "model": {"d_model": 64, "d_ff": 256, "context_length": 128, **model},
        "optim": {"lr": lr, "warmup_steps": warmup_steps},
        "train": {"max_steps": max_steps, "batch_size": 16},
    }


def make_run(
    runs_dir: Path,
    rows: Iterable[Row],
    experiments: Mapping[str, Mapping[str, str]],
    config: dict[str, Any],
    state: str = "done",
    choices: Mapping[str, str] | None = None,
    **status: Any,
) -> Run:
    """A run folder as training leaves it."""
    identity = {"config": config, "data_fingerprint": "f00d", "code_version": 1}
    names = [config["model"][slot]["_target_"].rsplit(".", 1)[-1].lower() for slot in MODEL_GROUPS]
    run = Run.create(runs_dir, identity, "-".join([*names, f"s{config['seed']}"]), "")
    train, context = config["train"], config["model"]["context_length"]
    tokens = train["max_steps"] * train["batch_size"] * context
    run.add_facts(parameters=393_792, flops_per_token=2_752_512, tokens=tokens, choices=dict(choices or {}))
    for experiment, noted in experiments.items():
        run.join(experiment, noted)
    log = MetricsLog(run.metrics_path, keep_below=0)
    for row in rows:
        log.write(row)
    log.close()
    run.set_status(state, **status)
    return run


def learning(
    seed: int,
    floor: float = 5.0,
    steps: int = 200,
    eval_every: int = 20,
    spread: float = 0.02,
    layers: int = 4,
) -> list[Row]:
    """Rows that look like training: a falling, noisy loss, a gradient norm with spikes, panels by layer."""
    noise = np.random.default_rng(seed)
    floor += spread * noise.standard_normal()
    rows: list[Row] = []
    for step in range(steps + 1):
        loss = floor + (8.1 - floor) * float(np.exp(-step / (0.2 * steps)))
        row: Row = {"step": step, "tokens": step * 16 * 128}
        if step < steps:
            spike = 4.0 if noise.random() < 0.01 else 1.0
            row |= {
                "train/loss": loss + 0.08 * float(noise.standard_normal()),
                "grad_norm": spike * float(np.exp(0.25 * noise.standard_normal())) * (0.5 + 1.5 / (1 + step / 10)),
                "lr": 3e-3 * min(1.0, (step + 1) / 20),
                "tokens_per_s": 3000 + 50 * float(noise.standard_normal()),
            }
        if step % eval_every == 0 or step == steps:
            row |= {"val/loss": loss + 0.05, "val/bpb": (loss + 0.05) / 2.1}
            row |= {
                f"residual/branch_ratio_mlp/layer_{i}": 0.6 / (1 + i) + 0.03 * float(noise.standard_normal())
                for i in range(layers)
            }
        rows.append(row)
    return rows
