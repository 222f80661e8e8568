"""Tiny runs in forked processes, and ways to end them badly.

A fork shares what its parent has imported, so that a run costs a fraction of a second. The parent itself never
trains: torch refuses a backward pass in a fork of a process that has made one.
"""

import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch._dynamo  # noqa: F401 (torch imports it on demand, which takes seconds: once, before the forks)
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from lmablate.config.hydra_patches import quote_group_values
from lmablate.config.schema import CONF
from lmablate.errors import Diverged, UserError
from lmablate.runs.metrics import MetricsLog, read_metrics
from lmablate.runs.run import Run, all_runs
from lmablate.train import train

TINY = [
    *("model.d_model=16", "model.n_layers=2", "model.n_heads=2", "model.d_ff=32", "model.context_length=32"),
    *("tokenizer.vocab_size=300", "tracking=none", "train.batch_size=4", "train.threads=1", "train.device=cpu"),
    *("train.max_steps=40", "train.eval_every=10", "train.eval_batches=2", "train.checkpoint_every=5"),
    *("optim.warmup_steps=5", "optim.lr=0.01"),
]
WALL_CLOCK = "tokens_per_s"
"""The one key of a row of metrics that is a time, and no result."""


def write_corpus(folder: Path) -> list[str]:
    """Two small text files, and the overrides that name them and a place for what is made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 7))) for _ in range(200)]
    for split, n in (("train", 6000), ("valid", 1500)):
        (folder / f"{split}.txt").write_text(" ".join(draw.choices(words, k=n)))
    files = [f"data.{split}={folder / split}.txt" for split in ("train", "valid")]
    return ["data=text", *files, f"data_dir={folder / 'data'}"]


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", overrides=quote_group_values([*TINY, *overrides]))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in Path(CONF, "model", group).glob("*.yaml"))


def every_choice() -> Iterator[list[str]]:
    """As few sets of overrides as have every option of every group of the model at least once."""
    groups = {group: options(group) for group in ("norm", "pos", "act", "tying", "init")}
    for i in range(max(map(len, groups.values()))):
        yield [f"model/{group}={names[i % len(names)]}" for group, names in groups.items()]


def in_a_fork(task: Callable[[], object], log: Path) -> ForkProcess:
    """Starts `task` in a child. Its exit code is 2 after a UserError, 1 after another error, as on the command line;
    what it says goes to `log`."""

    def child() -> None:
        with log.open("a", buffering=1) as sys.stderr:
            os.dup2(sys.stderr.fileno(), 2)
            logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
            try:
                task()
            except (UserError, Diverged) as error:
                print(error, file=sys.stderr)
                sys.exit(2 if isinstance(error, UserError) else 1)
            except Exception:
                traceback.print_exc()
                sys.exit(3)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


def finish(cfg: DictConfig, log: Path) -> int | None:
    """The exit code of an undisturbed `train`."""
    process = in_a_fork(lambda: train(cfg), log)
    process.join(120)
    return process.exitcode


def the_run(cfg: DictConfig) -> Run:
    (run,) = all_runs(Path(cfg.runs_dir))
    return run


def result(cfg: DictConfig) -> dict[str, bytes]:
    """The bytes of everything that a finished run leaves as its result."""
    run = the_run(cfg)
    assert run.status()["state"] == "done", run.status()
    final = run.checkpoints / f"step_{cfg.train.max_steps:08d}"
    rows = [{k: v for k, v in row.items() if k != WALL_CLOCK} for row in read_metrics(run.metrics_path)]
    files = {name: (final / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors", "state.json")}
    return {**files, "metrics": "".join(json.dumps(row) + "\n" for row in rows).encode()}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_barrier(number: int) -> None:
    """This process will kill itself just before its `number`-th flush, rename or new folder, or within its
    `number`-th write of a row of metrics, which is then half on the disk."""
    calls = 0

    def is_due() -> bool:
        nonlocal calls
        calls += 1
        return calls == number

    def deadly(barrier: Callable) -> Callable:
        def call(*arguments, **options):
            if is_due():
                die()
            return barrier(*arguments, **options)

        return call

    def torn_write(self: MetricsLog, row: dict, write: Callable = MetricsLog.write) -> None:
        if is_due():
            self.file.write(json.dumps(row).encode()[:-20])
            die()
        write(self, row)

    os.fsync, os.replace, os.rename, os.mkdir = map(deadly, (os.fsync, os.replace, os.rename, os.mkdir))
    MetricsLog.write = torn_write
