"""The smallest real training run: its settings, its text, and the ways to start it.

`command` starts a process as a user does, which takes seconds. `exit_code` runs the same command in this process.
`finish` trains in a fork, which costs a fraction of a second because it shares what its parent has imported, and
`in_a_fork` returns the process, so that a test can kill it.
"""

import json
import logging
import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path
from unittest.mock import patch

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import DictConfig
from omegaconf.basecontainer import BaseContainer

from lmablate.config.compose import compose_config, config_folder
from lmablate.config.schema import CONF, MODEL_GROUPS
from lmablate.errors import Diverged, UserError
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import Run, all_runs
from lmablate.train import train

ROOT = Path(__file__).resolve().parent.parent

SMALL = [
    "tokenizer.vocab_size=280", "model.d_model=16", "model.n_layers=2", "model.n_heads=2", "model.d_ff=32",
    "model.context_length=16", "train.batch_size=4", "train.max_steps=12", "train.eval_every=4",
    "train.eval_batches=2", "train.checkpoint_every=4", "train.device=cpu", "optim.warmup_steps=3", "tracking=none",
]  # fmt: skip
# The one variation of it: long enough for kills at different places, and for several checkpoints.
LONGER = ["train.max_steps=40", "train.eval_every=10", "train.checkpoint_every=5"]


def write_corpus(folder: Path) -> list[str]:
    """Write a small text into `folder`, and return the overrides that choose it."""
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "other", "cats", "run", "home", "\n"]
    folder.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", 4000), ("valid", 800)):
        text = " ".join(words[(i * i + i // 7 + len(split)) % len(words)] for i in range(n))
        (folder / f"{split}.txt").write_text(text)
    files = [f"data.{split}={folder / split}.txt" for split in ("train", "valid")]
    return ["data=text", *files, f"data_dir={folder / 'data'}"]


def overrides(folder: Path) -> list[str]:
    """Return the overrides of a complete tiny run below `folder`, whose text is written there."""
    return [*SMALL, *write_corpus(folder), f"runs_dir={folder / 'runs'}"]


def configured(*more: str) -> DictConfig:
    """Return the config of the tiny run with more overrides."""
    with config_folder():
        return compose_config([*SMALL, *more])


def group_options(group: str) -> list[str]:
    """Return the options of a group of the model, such as "pos"."""
    return sorted(path.stem for path in Path(CONF, "model", group).glob("*.yaml"))


def every_choice() -> Iterator[list[str]]:
    """Yield as few sets of overrides as have every option of every group of the model at least once."""
    groups = {group: group_options(group) for group in MODEL_GROUPS}
    for i in range(max(map(len, groups.values()))):
        yield [f"model/{group}={names[i % len(names)]}" for group, names in groups.items()]


# ------------------------------------------------------------------------------------------ ways to start a command


def command(
    arguments: Sequence[str], program: str = "lmablate.train", *, cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m program arguments` in a process of its own, as a user would. Its limit only ends what hangs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_SILENT": "true", **env}
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        capture_output=True, text=True, cwd=cwd, env=environment, timeout=900,
    )  # fmt: skip


def exit_code(arguments: Sequence[str], program: str = "lmablate.train") -> int:
    """Run `python -m program arguments` in this process, and return its exit code; it prints to the test's capture."""
    with _hydra_restored(), patch.object(sys, "argv", [program, *arguments]), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".* found in sys.modules", RuntimeWarning
        )  # imported before, for another test
        try:
            runpy.run_module(program, run_name="__main__")
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


@contextmanager
def _hydra_restored() -> Iterator[None]:
    """Begin the block without a running Hydra, and undo afterwards what the command has changed in Hydra."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ))
        stack.enter_context(patch.dict(BaseContainer._resolvers))
        stack.enter_context(patch.dict(Singleton._instances))
        stack.enter_context(patch.object(JobReturn, "return_value", JobReturn.return_value))
        load = ConfigLoaderImpl.load_configuration
        stack.enter_context(patch.object(ConfigLoaderImpl, "load_configuration", load))
        for singleton in (GlobalHydra, HydraConfig):
            Singleton._instances.pop(singleton, None)
        yield


def in_a_fork(task: Callable[[], object], log: Path | None = None) -> ForkProcess:
    """Start `task` in a child process, and return the process.

    Its exit code is 2 after a UserError and 1 after a divergence, as on the command line, and 3 after another error.

    A torch that uses an accelerator refuses a backward pass in a fork of a process that has made one.

    Args:
        task: called without arguments.
        log: the file that its messages are appended to; by default they go to the parent's stderr.
    """
    import torch._dynamo  # noqa: F401 (torch imports it on demand, which takes seconds: once, before the forks)

    def child() -> None:
        if log is not None:
            sys.stderr = log.open("a", buffering=1)
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
    """Train `cfg` undisturbed in a fork, and return the exit code."""
    process = in_a_fork(lambda: train(cfg), log)
    process.join(120)
    return process.exitcode


# ------------------------------------------------------------------------------------------------- what a run leaves


def the_run(cfg: DictConfig) -> Run:
    """Return the only run in the config's `runs_dir`."""
    (run,) = all_runs(Path(cfg.runs_dir))
    return run


def result(cfg: DictConfig) -> dict[str, bytes]:
    """Return the bytes of everything that a finished run leaves as its result, by name."""
    run = the_run(cfg)
    assert run.status()["state"] == "done", run.status()
    final = run.checkpoints / f"step_{cfg.train.max_steps:08d}"
    # tokens_per_s is a time, and not a result.
    rows = [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in read_metrics(run.metrics_path)]
    files = {name: (final / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors", "state.json")}
    return {**files, "metrics": "".join(json.dumps(row) + "\n" for row in rows).encode()}
