"""One run, from its config to its result: checks, data, identity, folder, lock, training."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build, build_all, build_model, check_config, resolve_config
from lmablate.config.compose import group_choices, job_arguments
from lmablate.config.identity import run_facts, run_identity, run_label
from lmablate.data.prepare import PreparedData, prepare_data
from lmablate.data.tokens import check_lengths
from lmablate.diagnostics.probe import declared_metrics
from lmablate.files import Busy, disk_errors_named, shown_path
from lmablate.machine import available_threads, describe_machine, keep_freed_memory, pick_device
from lmablate.model.fast import have_kernels
from lmablate.runs.run import CODE_VERSION, Run, done_with_other_code, run_id
from lmablate.runs.stop_signal import StopFlag
from lmablate.tokenizer import Tokenizer
from lmablate.training.branch import Origin, find_origin
from lmablate.training.checkpoint import checkpoints
from lmablate.training.distributed import Workers
from lmablate.training.recipe import build_recipe
from lmablate.training.step import check_compiler
from lmablate.training.tracking import Guarded
from lmablate.training.trainer import Trainer, TrainingData

log = logging.getLogger(__name__)


def train_run(
    cfg: DictConfig, choices: Mapping[str, str] | None = None, arguments: Sequence[str] | None = None
) -> float:
    """Train the run that `cfg` describes, unless it is done, and return its validation loss in nats per token.

    Args:
        cfg: its config, not yet resolved.
        choices: the chosen option of each group; None for those of the running Hydra job.
        arguments: those of `lmablate.train` that stand for this run alone; None for those of the running Hydra job.
    """
    choices = group_choices() if choices is None else choices
    keep_freed_memory()
    device = check_run(cfg)
    cfg = resolve_config(cfg)
    torch.set_num_threads(cfg.train.threads or available_threads())
    workers = Workers.init(device)
    workers.check_batch(cfg.train.batch_size)
    with workers.main_process_first():
        prepared = prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir)
        check_lengths(prepared.train.array, prepared.valid.array, cfg.model.context_length)
        identity = run_identity(cfg, prepared.fingerprint, CODE_VERSION)
        for other in done_with_other_code(Path(cfg.runs_dir), identity):
            log.warning("run %s was trained with other code of your classes, and stays: this is another run", other)
        label = run_label(cfg)
        begun = checkpoints(Path(cfg.runs_dir) / run_id(identity, label) / "checkpoints")
        origin = None if begun else find_origin(cfg, identity)
        run = Run.create(Path(cfg.runs_dir), identity, label, OmegaConf.to_yaml(cfg, resolve=True))
        if origin is not None and workers.is_main:
            run.add_facts(branched_from={"run": origin.parent.id, "step": origin.step})
        elif origin is not None:  # the parent may have saved another checkpoint since
            origin = replace(origin, step=run.facts()["branched_from"]["step"])
    run.add_to_experiment(cfg.name, choices, job_arguments() if arguments is None else arguments)
    trained = False
    try:
        with workers:
            if run.is_due(cfg.skip_failed):
                with run.lock() if workers.is_main else nullcontext():
                    if run.is_due(cfg.skip_failed):  # another process may have finished it meanwhile
                        _fit(cfg, run, prepared, workers, choices, origin)
                        trained = True
                    workers.barrier()
    except Busy as error:
        log.warning("%s: skipped", error)
        return float("nan")
    status = run.status()
    if workers.is_main and status["state"] == "done":
        if not trained:
            log.info("run %s is done already", run.id)
        whole = status.get("final/val_loss")
        on_all = f", on the whole file {whole:.4f}" if whole is not None else ""
        print(f"{shown_path(run.folder)}  val/loss {status['val/loss']:.4f}{on_all}")
    return status.get("val/loss", float("nan"))  # a run that failed before and is skipped has none


def check_run(cfg: DictConfig) -> torch.device:
    """Check all that a run needs and that can be known before anything is written, and return its device."""
    check_config(cfg)
    available_threads()  # raises if OMP_NUM_THREADS is not a number
    if cfg.train.compile:
        check_compiler()
    return pick_device(cfg.train.device)


def _fit(
    cfg: DictConfig, run: Run, prepared: PreparedData, workers: Workers, choices: Mapping[str, str],
    origin: Origin | None,
) -> None:  # fmt: skip
    """Build what the resolved config names, and train."""
    settings: Any = OmegaConf.to_object(cfg)
    tokenizer = Tokenizer.from_files(prepared.tokenizer_path)
    data = TrainingData(prepared.train.array, prepared.valid.array, tokenizer.token_lengths())
    with run.recording_failure(workers.rank), disk_errors_named("runs_dir", cfg.runs_dir), StopFlag() as stop:
        model, tracker = build_model(cfg), Guarded(build(cfg.tracking))
        probes = build_all(cfg.diagnostics.probes)
        declared = declared_metrics(probes)
        if workers.is_main:
            tokenizer.save(run.tokenizer_path)
            kernels = workers.device.type == "cpu" and have_kernels(torch.empty(16), whole=16)
            run.add_facts(
                **run_facts(cfg, choices), tokenizer=tokenizer.fingerprint, metrics=declared,
                machine=describe_machine(), cpu_kernels=kernels,
            )  # fmt: skip
            config: Any = OmegaConf.to_container(cfg, resolve=True)
            tracker.start(run.folder, run.id, cfg.name, config)
        Trainer(
            model, data, run, seed=cfg.seed, train=settings.train, optim=settings.optim,
            recipe=build_recipe(cfg), probes=probes, tracker=tracker, workers=workers, stop=stop, origin=origin,
        ).fit()  # fmt: skip
