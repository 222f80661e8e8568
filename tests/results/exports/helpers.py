"""Run folders with made-up measurements, and the CSV files of wandb's page."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmablate.config.schema import LABEL_GROUPS
from lmablate.results.exports import RecordedRun
from lmablate.results.exports.catalogue import class_options
from lmablate.results.exports.recorded import Curves
from lmablate.runs.metrics import MetricsLog
from lmablate.runs.run import Run

BASE = {"norm": "post", "pos": "sin", "act": "relu", "tying": "true", "init": "scaled"}
Row = dict[str, float]


def make_config(seed: int = 0, max_steps: int = 200, warmup_steps: int = 20, lr: float = 3e-3, **groups: str) -> dict:
    """Return the part of a config that counts for a run's identity; `groups` chooses options, such as pos="rope"."""
    options = BASE | groups
    classes = {group: {option: name for name, option in class_options(group).items()} for group in options}
    model = {group: {"_target_": f"lmablate.model.{classes[group][options[group]]}"} for group in options}
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
    **status: Any,
) -> Run:
    """Make a run folder as training leaves it, by the code that writes real ones.

    Args:
        runs_dir: where the folder is made.
        rows: the rows of metrics.jsonl.
        experiments: the experiments that it belongs to, with the choices that each recorded.
        config: from `make_config`.
        state: its state.
        status: more keys of status.json.
    """
    identity = {"config": config, "data_fingerprint": "f00d", "code_version": 1}
    names = [config["model"][group]["_target_"].rsplit(".", 1)[-1].lower() for group in LABEL_GROUPS]
    run = Run.create(runs_dir, identity, "-".join([*names, f"s{config['seed']}"]), "")
    train, context = config["train"], config["model"]["context_length"]
    tokens = train["max_steps"] * train["batch_size"] * context
    run.add_facts(parameters=393_792, flops_per_token=2_752_512, tokens=tokens, choices={})
    for experiment, choices in experiments.items():
        run.add_to_experiment(experiment, choices)
    log = MetricsLog(run.metrics_path, keep_below=0)
    for row in rows:
        log.write(row)
    log.close()
    run.set_status(state, **status)
    return run


def training_rows(
    seed: int,
    floor: float = 5.0,
    steps: int = 200,
    eval_every: int = 20,
    spread: float = 0.02,
    layers: int = 4,
) -> list[Row]:
    """Return rows that look like training: a falling, noisy loss, a gradient norm with spikes, a metric by layer."""
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


def points_of(curves: Curves) -> dict[tuple[str, int], float]:
    """Return {(metric, step): value}."""
    return {(m, int(s)): float(v) for m, (steps, values) in curves.items() for s, v in zip(steps, values, strict=True)}


def save_pages(recorded: list[RecordedRun], folder: Path) -> None:
    """Write one CSV file per chart, as wandb's page does: cells quoted, three columns per run, gaps empty."""
    folder.mkdir()
    curves = {run.id: run.read_curves() for run in recorded}
    for metric in sorted({metric for metrics in curves.values() for metric in metrics}):
        names = [run for run in curves if metric in curves[run]]
        header = ["Step", *(f"{n} - {metric}{end}" for n in names for end in ("", "__MIN", "__MAX"))]
        cells = {n: dict(zip(*map(list, curves[n][metric]), strict=True)) for n in names}
        with (folder / f"wandb_export_{metric.replace('/', '_')}.csv").open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(header)
            for step in sorted({step for column in cells.values() for step in column}):
                writer.writerow([step, *(cells[n].get(step, "") for n in names for _ in range(3))])
