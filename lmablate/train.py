"""Train one run, or under -m a sweep of them: `python -m lmablate.train [-m] [overrides]`; --help shows examples."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from lmablate import config
from lmablate.cli import entry
from lmablate.data.prepare import PreparedData, prepare
from lmablate.distributed import Workers
from lmablate.files import disk_errors_named
from lmablate.heap import keep_heap
from lmablate.locks import Busy
from lmablate.loop import Data, Trainer
from lmablate.preempt import StopFlag
from lmablate.runs import CODE_VERSION, Run
from lmablate.tokenizer import Tokenizer

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float:
    """Trains the run that `cfg` describes, or finds it done. Returns its validation loss in nats per token."""
    keep_heap()
    cfg = config.resolve(cfg)
    torch.set_num_threads(cfg.train.threads or config.cores())
    workers = Workers.join(config.device_of(cfg.train.device))
    with workers.in_turn():
        prepared = prepare(config.build(cfg.data), cfg.tokenizer, cfg.data_dir)
        identity = config.identity(cfg, prepared.fingerprint, CODE_VERSION)
        run = Run.create(Path(cfg.runs_dir), identity, config.label(cfg), OmegaConf.to_yaml(cfg, resolve=True))
    run.join(cfg.name, config.choices())
    try:
        with run.lock() if workers.leads else nullcontext(), workers:
            if run.is_due(cfg.skip_failed):
                fit(cfg, run, prepared, workers)
            workers.agree()
    except Busy as error:
        log.warning("%s: skipped", error)
        return float("nan")
    status = run.status()
    if workers.leads and status["state"] == "done":
        print(f"{run.folder}  val/loss {status['val/loss']:.4f}")
    return status.get("val/loss", float("nan"))  # a failed run that was skipped has none


def fit(cfg: DictConfig, run: Run, prepared: PreparedData, workers: Workers) -> None:
    """Builds what the config names, and trains."""
    settings: Any = OmegaConf.to_object(cfg)
    tokenizer = Tokenizer.from_files(prepared.tokenizer_path)
    data = Data(prepared.train.array, prepared.valid.array, tokenizer.token_lengths())
    with run.recording_failure(workers.rank), disk_errors_named("runs_dir", cfg.runs_dir), StopFlag() as stop:
        model, tracker = config.build_model(cfg), config.build(cfg.tracking)
        if workers.leads:
            tokenizer.save(run.tokenizer_path)
            run.add_facts(**config.facts(cfg), tokenizer=tokenizer.fingerprint)
            tracker.start(run.folder, run.id, cfg.name, OmegaConf.to_container(cfg, resolve=True))
        Trainer(
            model, data, run, seed=cfg.seed, train=settings.train, optim=settings.optim,
            probes=config.build_all(cfg.diagnostics.probes), tracker=tracker, workers=workers, stop=stop,
        ).fit()  # fmt: skip


if __name__ == "__main__":
    from lmablate.train import train  # by its importable name: a launcher sends it to other processes

    entry(train)
